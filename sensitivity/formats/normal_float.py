"""NF4: 16 levels at quantiles of a normal distribution (QLoRA, arXiv 2305.14314), absmax scale per group of 64."""

from sensitivity.formats.candidate import CandidateFormat, ElementType, Strategy

FORMATS = (CandidateFormat("NF4_G64", 4, ElementType.NORMAL_FLOAT, Strategy.GROUP, group_size=64),)
