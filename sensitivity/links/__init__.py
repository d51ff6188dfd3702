"""Links: what a cheap probe's losses say of an expensive one's, fitted on the cells that both measured. No torch, no SQL."""
