"""The console's settings."""

from pydantic import Field

from receiver.settings import Settings


class ConsoleSettings(Settings):
    """The console's own."""

    console_host: str = Field(
        "127.0.0.1", description="address of the console; whoever reaches it sees events and figures of this system"
    )
    console_port: int = Field(8001, ge=0, le=65535, description="port of the console, which has `/metrics`")
