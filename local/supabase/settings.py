"""What the stand-in is started with."""

from dataclasses import dataclass, field

from local.supabase.tokens import SigningKey, TokenSigner


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of one stand-in; only `database_url` and `jwt_secret` have to be given."""

    database_url: str = field(repr=False)
    jwt_secret: str = field(repr=False)
    url: str = "http://127.0.0.1"
    publishable_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    signing_key: SigningKey | None = None
    issuer: str | None = None
    audience: str = "authenticated"
    token_lifetime_seconds: int = 3600
    schemas: tuple[str, ...] = ("public",)
    extra_search_path: tuple[str, ...] = ("public", "extensions")
    max_rows: int = 1000
    pool_size: int = 10
    pool_timeout_seconds: float = 10.0
    control: bool = False

    @property
    def token_issuer(self) -> str:
        """The `iss` of sign-in tokens: `<url>/auth/v1`, as Supabase's, unless another was given."""
        return self.issuer or f"{self.url}/auth/v1"

    @property
    def signer(self) -> TokenSigner:
        """What signs tokens that this stand-in accepts."""
        return TokenSigner(jwt_secret=self.jwt_secret, issuer=self.token_issuer, signing_key=self.signing_key)
