"""Real kernels of this machine's processor: linear layers built with them, and how long they take."""
