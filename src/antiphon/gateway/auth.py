"""Who asks: the API key of a request, and what its holder may do."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

import msgspec

from antiphon.api.errors import ApiError
from antiphon.errors import SettingsError
from antiphon.gateway.guards import is_loopback
from antiphon.gateway.keys import ApiKey, KeyRing
from antiphon.settings.model import Settings

__all__ = ["ANYONE", "Caller", "authenticate", "check_bind", "require_model", "require_operator"]

_CHALLENGE: Final = {"www-authenticate": "Bearer"}


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who made a request."""

    tenant: str = ""
    """The key's id; empty without keys."""
    key: ApiKey | None = None
    operator: bool = True
    """Whether what is for operators is allowed: to anyone, until keys say otherwise."""


ANYONE: Final = Caller()
"""The caller while no key is configured: on this machine, so trusted."""


def authenticate(
    headers: Iterable[tuple[bytes, bytes]],
    ring: KeyRing,
    now: datetime,
    *,
    required: bool = False,
    operators: bool = True,
) -> Caller:
    """The caller whose key is in ``Authorization: Bearer …`` or ``x-api-key``.

    Without any key configured, everyone is `ANYONE`, whatever key is sent: clients insist on
    sending one. ``required``: a key is needed though there is none (any more). ``operators``:
    ``server.operator_key_required``. Raises ApiError 401.
    """
    if not ring and not required:
        return ANYONE
    presented = _presented(headers)
    if presented is None:
        raise _refused(
            "You didn't provide an API key. Send it as 'Authorization: Bearer YOUR_KEY'."
        )
    key = ring.find(presented)
    if key is None:
        raise _refused("Incorrect API key provided.")
    if key.expired(now):
        raise _refused(f"This API key expired on {key.expires}.")
    return Caller(tenant=key.id, key=key, operator=key.operator or not operators)


def require_operator(*, operator: bool, what: str) -> None:
    """Raises ApiError 403 unless the caller is an operator. ``what``: “The mode header”."""
    if not operator:
        raise ApiError(
            f"{what} needs an operator's API key ('antiphon keys add --operator').",
            status=403,
            type="permission_error",
            code="operator_key_required",
        )


def require_model(key: ApiKey | None, names: Iterable[str]) -> None:
    """Raises ApiError 403 unless the key may use the model under one of its names."""
    names = tuple(names)
    if key is not None and not any(key.may_use(name) for name in names):
        raise ApiError(
            f"This API key may not use the model {names[0]!r}.",
            status=403,
            type="permission_error",
            param="model",
            code="model_not_allowed",
        )


def check_bind(settings: Settings, ring: KeyRing) -> None:
    """Refuse to listen to a network without keys. Raises SettingsError."""
    host = settings.server.host
    if not ring and not is_loopback(host):
        raise SettingsError(
            f"server.host is {host}, but there are no API keys: anyone on the network could use the"
            " engine. Make a key with 'antiphon keys add', or listen on 127.0.0.1."
        )


def _presented(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    found: str | None = None
    for name, value in headers:
        if name == b"authorization":
            scheme, _, rest = value.partition(b" ")
            if scheme.lower() == b"bearer" and rest.strip():
                return rest.strip().decode("latin-1")
        elif name == b"x-api-key" and value.strip():
            found = value.strip().decode("latin-1")
    return found


def _refused(message: str) -> ApiError:
    return ApiError(
        message,
        status=401,
        type="authentication_error",
        code="invalid_api_key",
        headers=_CHALLENGE,
    )
