"""INT 2–8, symmetric and asymmetric, per group of 32, 64 or 128 and per channel.

Scales are bfloat16: they load without loss in engines that run in bfloat16 and in float16. A zero point takes ``num_bits``
bits, as compressed-tensors packs it.
"""

from sensitivity.formats.candidate import CandidateFormat, ElementType, Strategy

GROUP_SIZES = (32, 64, 128)


def _integer(num_bits: int, group_size: int | None, *, symmetric: bool) -> CandidateFormat:
    where = "CHANNEL" if group_size is None else f"G{group_size}"
    return CandidateFormat(
        name=f"INT{num_bits}_{where}{'' if symmetric else '_ASYM'}",
        num_bits=num_bits,
        type=ElementType.INT,
        strategy=Strategy.CHANNEL if group_size is None else Strategy.GROUP,
        group_size=group_size,
        symmetric=symmetric,
        zero_point_bits=0 if symmetric else num_bits,
    )


FORMATS = tuple(
    _integer(num_bits, group_size, symmetric=symmetric)
    for num_bits in range(2, 9)
    for group_size in (*GROUP_SIZES, None)
    for symmetric in (True, False)
)
