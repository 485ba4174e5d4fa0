"""What only notify needs of the environment."""

from pydantic import Field

from functions.shared.settings import Settings


class NotifySettings(Settings):
    """Who the mail comes from and where its links lead."""

    notify_from_address: str = Field(pattern=r"^[^\s<>@]+@[^\s<>@]+$|^[^<>\r\n]+ <[^\s<>@]+@[^\s<>@]+>$")
    """`bookings@example.com` or `Example <bookings@example.com>`; its domain is verified with SES."""
    app_url: str = Field(pattern=r"^https?://[^\s]+[^/\s]$")
    """The page that users know, without a slash at its end: links are `{APP_URL}/bookings/{id}` and the like."""
    ses_configuration_set: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_-]{1,64}$")
    """Where SES reports bounces and complaints; messages then carry the notification's id as a tag."""
