"""What each of Stripe's decline and advice codes means for us: the rows behind `declines.classify`.

The codes of errors that are no issuer's declines are in `decline_error_codes`. One row per code. A row's
`reason` and `action` are the two halves of the sentence for the cardholder, who was not at the screen when
the charge was tried. An empty `action` means the usual one of the row's category (`ACTIONS`).

Three rules for the words: nothing is promised that another part of the system might not keep (a sentence also
closes a booking whose retries are used up), nobody is blamed, and a row marked `fraud` has no words of its own:
Stripe asks to present those exactly like a `generic_decline` (https://docs.stripe.com/declines/codes), so all
get `NEUTRAL_SENTENCE`.

Imported on the cold-start path: standard library only.
"""

from enum import StrEnum
from typing import Final, NamedTuple


class DeclineCategory(StrEnum):
    """What happens next after a decline (docs/declines.md)."""

    RETRY_LATER = "retry_later"
    OTHER_CARD = "other_card"
    USER_ACTION = "user_action"
    UPDATE_CARD = "update_card"
    NEVER = "never"
    STOP = "stop"
    OUR_BUG = "our_bug"


class Rule(NamedTuple):
    """One row of the table.

    `fraud`: the reason is suspicion or a sanction, so no other card may be tried by itself.
    `blocks_card`: the issuer or Stripe forbade further attempts on this card.
    `no_retry`: nobody forbade it, but trying the same card again can't help.
    `wait_seconds`: how long to wait before the next attempt on this card, where that is prescribed.
    """

    category: DeclineCategory
    reason: str = "This card was declined."
    action: str = ""
    fraud: bool = False
    blocks_card: bool = False
    no_retry: bool = False
    wait_seconds: int | None = None


_RETRY = DeclineCategory.RETRY_LATER
_OTHER = DeclineCategory.OTHER_CARD
_USER = DeclineCategory.USER_ACTION
_UPDATE = DeclineCategory.UPDATE_CARD
_NEVER = DeclineCategory.NEVER
_STOP = DeclineCategory.STOP
_BUG = DeclineCategory.OUR_BUG

GENERIC_REASON: Final = "This card was declined."

ACTIONS: Final[dict[DeclineCategory, str]] = {
    _RETRY: "A later attempt may work, or you can choose another card.",
    _OTHER: "Please contact your bank for more information, or choose another card.",
    _USER: "Please open your booking and confirm the payment with your bank.",
    _UPDATE: "Please add the card again with the right details, or use another one.",
    _NEVER: "Please choose another card.",
    _STOP: "We are checking this before anything else is charged, and there is nothing you need to do.",
    _BUG: "Our team has been told, and there is nothing you need to do.",
}

NEUTRAL_SENTENCE: Final = f"{GENERIC_REASON} {ACTIONS[_OTHER]}"

GENERIC: Final = Rule(_OTHER)
_FRAUD: Final = Rule(_NEVER, fraud=True, blocks_card=True)
_FORBIDDEN: Final = Rule(_NEVER, "This card can't be used for this payment.", blocks_card=True)
OUR_FAULT: Final = Rule(_BUG, "This payment failed because of a fault on our side, not because of your card.")

HOUR_SECONDS: Final = 3_600
DAY_SECONDS: Final = 86_400

# --- Radar and Adaptive Acceptance: outcome.reason where outcome.type is "blocked" --------------------------
# https://docs.stripe.com/declines#blocked-payments
# https://docs.stripe.com/api/charges/object#charge_object-outcome-reason
# https://support.stripe.com/questions/payment-blocked-due-to-excessive-retries
# A custom rule may be about the amount or the country, so it ends this attempt without barring the card for
# good. The `requested_block*` reasons are not on those pages; they are what Radar's built-in CVC and postal
# code rules send.
RADAR_UNKNOWN: Final = Rule(_NEVER, fraud=True)
RADAR_REASONS: Final[dict[str, Rule]] = {
    "highest_risk_level": _FRAUD,
    "elevated_risk_level": RADAR_UNKNOWN,
    "rule": RADAR_UNKNOWN,
    "requested_block": RADAR_UNKNOWN,
    "blocklist": _FRAUD,
    "merchant_blacklist": _FRAUD,
    "low_probability_of_authorization": GENERIC,
    "previously_declined_do_not_retry": Rule(_NEVER, "This card has been declined too often.", blocks_card=True),
    "requested_block_on_incorrect_cvc": Rule(
        _UPDATE,
        "The security code of this card did not match.",
    ),
    "requested_block_on_incorrect_zip": Rule(_UPDATE, "The billing postal code did not match the card."),
}

# --- advice_code: Stripe's reading of the issuer's advice ---------------------------------------------------
# https://docs.stripe.com/declines/card#retrying-issuer-declines
ADVICE_CODES: Final[dict[str, Rule]] = {
    "try_again_later": Rule(_RETRY, "Your bank could not approve this payment just now."),
    "do_not_try_again": _FORBIDDEN,
    "confirm_card_data": Rule(_UPDATE, "Your bank said that some details of this card are not right."),
}

# --- network_advice_code: Mastercard's Merchant Advice Codes ------------------------------------------------
# https://docs.stripe.com/declines/network-codes says that the meaning differs by brand. The codes themselves:
# https://developer.paypal.com/braintree/docs/reference/general/merchant-responses/merchant-advice-codes
# https://docs.payabl.com/docs/mastercard-merchant-advice-codes (05, 22, 42)
_NO_FUNDS_NOW: Final = "Your bank could not approve this amount just now."
MERCHANT_ADVICE_CODES: Final[dict[str, Rule]] = {
    "01": Rule(_UPDATE, "Your bank has newer details for this card.", no_retry=True),
    "02": Rule(_RETRY, "Your bank could not approve this payment just now."),
    "03": _FORBIDDEN,
    "04": Rule(_OTHER, "Your bank could not accept this card in its saved form."),
    "05": Rule(_OTHER, "Your bank did not approve this amount."),
    "21": Rule(_NEVER, "Your bank no longer accepts payments to us from this card.", blocks_card=True),
    "22": Rule(_OTHER, "Your bank does not allow this kind of purchase with this card."),
    "24": Rule(_RETRY, _NO_FUNDS_NOW, wait_seconds=HOUR_SECONDS),
    "25": Rule(_RETRY, _NO_FUNDS_NOW, wait_seconds=DAY_SECONDS),
    "26": Rule(_RETRY, _NO_FUNDS_NOW, wait_seconds=2 * DAY_SECONDS),
    "27": Rule(_RETRY, _NO_FUNDS_NOW, wait_seconds=4 * DAY_SECONDS),
    "28": Rule(_RETRY, _NO_FUNDS_NOW, wait_seconds=6 * DAY_SECONDS),
    "29": Rule(_RETRY, _NO_FUNDS_NOW, wait_seconds=8 * DAY_SECONDS),
    "30": Rule(_RETRY, _NO_FUNDS_NOW, wait_seconds=10 * DAY_SECONDS),
    "40": Rule(_OTHER, "This prepaid card can't be used for this payment.", "Please choose another card."),
    "41": Rule(_UPDATE, "This is a single-use card number.", "Please add a card that can be charged again."),
    "42": _FRAUD,  # sanctions screening: neither explained nor worked around with another card
    "43": Rule(_OTHER, "This virtual card number can't be used for this payment.", "Please choose another card."),
}

# --- network_advice_code: Visa's decline categories, when the caller knows that the network is Visa ---------
# https://developers.tabapay.com/docs/visa-response-code-updates ("Defining Categories 1-4")
# https://developer.worldpay.com/products/access/reference/response-codes/scheme-codes/ ("Visa Categories")
VISA_CATEGORIES: Final[dict[str, Rule]] = {
    "01": _FORBIDDEN,
    "02": Rule(_RETRY, "Your bank could not approve this payment just now."),
    "03": Rule(_UPDATE, "Your bank said that some details of this card are not right.", no_retry=True),
    "04": GENERIC,
}

# --- decline_code: cards ------------------------------------------------------------------------------------
# https://docs.stripe.com/declines/codes ("Card decline codes")
# no_retry also marks the "hard decline codes" that Stripe itself won't repeat on the same card:
# https://docs.stripe.com/billing/revenue-recovery/smart-retries
AUTHENTICATE: Final = Rule(_USER, "Your bank wants you to confirm this payment yourself.")
CVC: Final = Rule(_UPDATE, "The security code of this card is not right.")
NUMBER: Final = Rule(
    _UPDATE,
    "The number of this card is not right.",
    no_retry=True,
)
EXPIRY: Final = Rule(
    _UPDATE,
    "The expiry date of this card is not right.",
    no_retry=True,
)
EXPIRED: Final = Rule(
    _UPDATE, "This card has expired.", "Please add the renewed card, or use another one.", no_retry=True
)
ADDRESS: Final = Rule(_UPDATE, "The billing address does not match this card.")
POSTAL_CODE: Final = Rule(_UPDATE, "The billing postal code does not match this card.")
_LIMIT: Final = Rule(_OTHER, "This payment goes over a limit of this card.")
_PIN: Final = Rule(_OTHER, "Your bank asks for a PIN, which can't be used online.", "Please choose another card.")
_REVOKED: Final = Rule(
    _NEVER,
    "Your bank no longer accepts payments to us from this card.",
    "Please contact your bank if you did not ask for this, or choose another card.",
    blocks_card=True,
)
_TEMPORARY: Final = Rule(_RETRY, "Your bank could not process this payment just now.")
_INVALID_ACCOUNT: Final = Rule(
    _UPDATE,
    "Your bank said that this card, or its account, is not valid.",
    "Please contact your bank, or add another card.",
    no_retry=True,
)
_DUPLICATE: Final = Rule(_STOP, "A payment with the same amount was made on this card a moment ago.")

CARD_DECLINE_CODES: Final[dict[str, Rule]] = {
    "authentication_required": AUTHENTICATE,
    "authentication_not_handled": AUTHENTICATE,
    "mobile_device_authentication_required": AUTHENTICATE,
    "approve_with_id": _TEMPORARY,
    "call_issuer": GENERIC,
    "card_not_supported": Rule(_OTHER, "This card can't be used for this kind of purchase."),
    "card_velocity_exceeded": _LIMIT,
    "currency_not_supported": Rule(_OTHER, "This card can't be charged in this currency."),
    "do_not_honor": GENERIC,
    "do_not_try_again": _FORBIDDEN,
    "duplicate_transaction": _DUPLICATE,
    "expired_card": EXPIRED,
    "fraudulent": _FRAUD,
    "generic_decline": GENERIC,
    "incorrect_address": ADDRESS,
    "incorrect_cvc": CVC,
    "incorrect_number": NUMBER,
    "incorrect_pin": _PIN,
    "incorrect_zip": POSTAL_CODE,
    "insufficient_funds": Rule(
        _OTHER,
        "There was not enough money available on this card.",
        "Please add money to its account, or choose another card.",
    ),
    "invalid_account": _INVALID_ACCOUNT,
    "invalid_amount": Rule(_OTHER, "Your bank does not allow a payment of this amount with this card."),
    "invalid_cvc": CVC,
    "invalid_expiry_month": EXPIRY,
    "invalid_expiry_year": EXPIRY,
    "invalid_number": NUMBER,
    "invalid_pin": _PIN,
    "issuer_not_available": Rule(_RETRY, "Your bank could not be reached."),
    "lost_card": _FRAUD,
    "merchant_blacklist": _FRAUD,
    "new_account_information_available": _INVALID_ACCOUNT,
    "no_action_taken": GENERIC,
    "not_permitted": Rule(_OTHER, "Your bank does not allow this payment with this card."),
    "offline_pin_required": _PIN,
    "online_or_offline_pin_required": _PIN,
    "pickup_card": _FRAUD,
    "pin_try_exceeded": _PIN,
    "processing_error": Rule(_RETRY, "Something went wrong while this payment was being processed."),
    "reenter_transaction": _TEMPORARY,
    "restricted_card": _FRAUD,  # Stripe: "it's possible it was reported lost or stolen"
    "revocation_of_all_authorizations": _REVOKED,
    "revocation_of_authorization": _REVOKED,
    "security_violation": _FRAUD,
    "service_not_allowed": GENERIC,
    "stolen_card": _FRAUD,
    "stop_payment_order": _REVOKED,
    "testmode_decline": Rule(_NEVER, "This is a test card, which can't pay for a booking.", blocks_card=True),
    "transaction_not_allowed": Rule(
        _OTHER, "Your bank does not allow this kind of payment with this card.", no_retry=True
    ),
    "try_again_later": _TEMPORARY,
    "withdrawal_count_limit_exceeded": _LIMIT,
}

# --- decline_code: wallets and local payment methods --------------------------------------------------------
# https://docs.stripe.com/declines/codes ("Local payment method decline codes"). The codes that both lists
# have (expired_card, processing_error, insufficient_funds, currency_not_supported, invalid_amount and
# duplicate_transaction) are the cards' own rows. compliance_violation is no fraud, but like a sanction it
# must not be worked around with another card.
OTHER_DECLINE_CODES: Final[dict[str, Rule]] = {
    "card_already_activated": OUR_FAULT,
    "code_expired": Rule(_OTHER, "The code for this payment has expired.", "Please choose another card."),
    "compliance_violation": _FRAUD,
    "expired_payment_information": EXPIRED,
    "invalid_authorization": _REVOKED,
    "invalid_billing_agreement": _INVALID_ACCOUNT,
    "invalid_business_account": OUR_FAULT,
    "invalid_customer_account": _INVALID_ACCOUNT,
    "invalid_payment_information": Rule(_UPDATE, "Some details of this card are not right.", no_retry=True),
    "invalid_track_data": GENERIC,
    "lost_or_stolen_card": _FRAUD,
    "partner_action_not_supported": OUR_FAULT,
    "partner_generic_decline": GENERIC,
    "partner_high_risk_customer": _FRAUD,
    "partner_payment_not_found": Rule(_STOP, "This payment could not be found at the payment provider."),
    "payment_disputed": Rule(_STOP, "There is an open dispute about this payment."),
    "payment_limit_exceeded": _LIMIT,
    "recurring_not_supported_by_bank": Rule(_OTHER, "Your bank does not allow saved-card payments with this card."),
}

DECLINE_CODES: Final[dict[str, Rule]] = {**OTHER_DECLINE_CODES, **CARD_DECLINE_CODES}
