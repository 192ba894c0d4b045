"""What is wrong with a parameter object."""

import pytest
from pydantic import BaseModel, ValidationError


def problem(kind: type[BaseModel], **values: object) -> tuple[str, str]:
    """Give where the only problem is, and its message."""
    with pytest.raises(ValidationError) as raised:
        kind(**values)
    (error,) = raised.value.errors()
    return ".".join(map(str, error["loc"])), error["msg"]
