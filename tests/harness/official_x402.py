"""The official x402 package, as an oracle: its hasher, its client, and its facilitator over a chain that agrees to
everything, so that what remains of its verdict is what it reads out of the payment."""

from __future__ import annotations

from typing import Any

import pytest

from nexusd_protocols.payments.address import checksummed
from nexusd_protocols.payments.authorization import Account, Authorization
from nexusd_protocols.payments.tokens import KNOWN, Token

pytest.importorskip("x402.mechanisms.evm", reason="the official x402 package is not installed")

from eth_account import Account as EthAccount
from eth_account.messages import encode_typed_data
from x402 import x402ClientSync
from x402.mechanisms.evm.eip712 import hash_eip3009_authorization
from x402.mechanisms.evm.exact.client import ExactEvmScheme as Client
from x402.mechanisms.evm.exact.facilitator import ExactEvmScheme as Facilitator
from x402.mechanisms.evm.exact.v1.client import ExactEvmSchemeV1 as ClientV1
from x402.mechanisms.evm.types import ExactEIP3009Authorization
from x402.schemas import PaymentPayload, PaymentRequired, PaymentRequirements, PaymentRequirementsV1

_TOKENS = {token.asset for token in KNOWN}


class AgreeableChain:
    """A `FacilitatorEvmSigner` to whom every payer is rich and every nonce unused."""

    def get_code(self, address: str) -> bytes:
        return b"\x60" if address in _TOKENS else b""

    def read_contract(self, address: str, abi: Any, function_name: str, *args: Any) -> Any:
        return 2**255 if function_name == "balanceOf" else None

    def get_addresses(self) -> list[str]:
        return []


def hasher(authorization: Authorization, token: Token) -> bytes:
    """The digest as the package computes it."""
    wire = authorization.wire()
    told = ExactEIP3009Authorization(
        from_address=wire["from"],
        to=wire["to"],
        value=wire["value"],
        valid_after=wire["validAfter"],
        valid_before=wire["validBefore"],
        nonce=wire["nonce"],
    )
    return hash_eip3009_authorization(told, token.chain_id, token.asset, token.name, token.version)


def typed_data(authorization: Authorization, token: Token) -> dict[str, Any]:
    """What eth-account signs."""
    wire = authorization.wire()
    fields = {"from": "address", "to": "address", "value": "uint256", "validAfter": "uint256", "validBefore": "uint256"}
    return {
        "types": {
            "EIP712Domain": [
                {"name": "name", "type": "string"},
                {"name": "version", "type": "string"},
                {"name": "chainId", "type": "uint256"},
                {"name": "verifyingContract", "type": "address"},
            ],
            "TransferWithAuthorization": [
                *({"name": name, "type": kind} for name, kind in fields.items()),
                {"name": "nonce", "type": "bytes32"},
            ],
        },
        "primaryType": "TransferWithAuthorization",
        "domain": {
            "name": token.name,
            "version": token.version,
            "chainId": token.chain_id,
            "verifyingContract": token.asset,
        },
        "message": {
            **wire,
            "value": authorization.value,
            "validAfter": authorization.valid_after,
            "validBefore": authorization.valid_before,
            "nonce": authorization.nonce,
        },
    }


def eth_recover(authorization: Authorization, token: Token, signature: bytes) -> str:
    """Who signed, says eth-account."""
    return str(
        EthAccount.recover_message(
            encode_typed_data(full_message=typed_data(authorization, token)), signature=signature
        )
    )


def eth_sign(authorization: Authorization, token: Token, account: Account) -> bytes:
    """The signature that eth-account makes."""
    local = EthAccount.from_key(account.secret())
    assert local.address == checksummed(account.address)
    return bytes(local.sign_message(encode_typed_data(full_message=typed_data(authorization, token))).signature)


def client_payment(requirements: dict[str, Any], account: Account) -> dict[str, Any]:
    """A payment of version 2 as the client makes it, now."""
    accepted = PaymentRequirements.model_validate(requirements)
    inner = Client(EthAccount.from_key(account.secret())).create_payment_payload(accepted)
    made = PaymentPayload(x402_version=2, payload=inner, accepted=accepted)
    return made.model_dump(by_alias=True, exclude_none=True)


def client_choice(demand: dict[str, Any], account: Account, networks: str) -> dict[str, Any]:
    """The payment of a client that pays on these networks (`eip155:8453`, `eip155:*`): it chooses an offer itself."""
    client = x402ClientSync()
    client.register(networks, Client(EthAccount.from_key(account.secret())))
    made = client.create_payment_payload(PaymentRequired.model_validate(demand))
    return made.model_dump(by_alias=True, exclude_none=True)


def client_payment_v1(requirements: dict[str, Any], account: Account, network: str) -> dict[str, Any]:
    """A payment of version 1 as the client makes it, now."""
    old = {
        "scheme": requirements["scheme"],
        "network": network,
        "maxAmountRequired": requirements["amount"],
        "resource": "https://example.com/x",
        "description": "",
        "mimeType": "",
        "payTo": requirements["payTo"],
        "maxTimeoutSeconds": requirements["maxTimeoutSeconds"],
        "asset": requirements["asset"],
        "extra": requirements["extra"],
    }
    inner = ClientV1(EthAccount.from_key(account.secret())).create_payment_payload(
        PaymentRequirementsV1.model_validate(old)
    )
    return {"x402Version": 1, "scheme": "exact", "network": network, "payload": inner}


class Official:
    """The facilitator."""

    def __init__(self) -> None:
        self._facilitator = Facilitator(AgreeableChain())  # type: ignore[arg-type]

    def verify(self, payment: dict[str, Any], requirements: dict[str, Any]) -> str:
        """Empty if it takes the payment, else its reason."""
        verdict = self._facilitator.verify(
            PaymentPayload.model_validate(payment), PaymentRequirements.model_validate(requirements)
        )
        return "" if verdict.is_valid else str(verdict.invalid_reason)
