"""How many bytes fields of a GGUF take."""

from typing import Any, Final

from gguf import GGUFValueType, GGUFWriter

_SCALARS: Final = {
    **dict.fromkeys((GGUFValueType.UINT8, GGUFValueType.INT8, GGUFValueType.BOOL), 1),
    **dict.fromkeys((GGUFValueType.UINT16, GGUFValueType.INT16), 2),
    **dict.fromkeys((GGUFValueType.UINT32, GGUFValueType.INT32, GGUFValueType.FLOAT32), 4),
    **dict.fromkeys((GGUFValueType.UINT64, GGUFValueType.INT64, GGUFValueType.FLOAT64), 8),
}


def metadata_bytes(writer: GGUFWriter) -> int:
    """Bytes of the fields that were added to a writer, without the head of the file."""
    return sum(
        8 + len(key.encode()) + 4 + _value_bytes(field.value, field.type)
        for fields in writer.kv_data
        for key, field in fields.items()
    )


def _value_bytes(value: Any, kind: GGUFValueType) -> int:
    if kind is GGUFValueType.STRING:
        return 8 + len(value.encode() if isinstance(value, str) else value)
    if kind is GGUFValueType.ARRAY:
        return 4 + 8 + sum(_value_bytes(item, GGUFValueType.get_type(item)) for item in value)
    return _SCALARS[kind]
