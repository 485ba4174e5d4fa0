"""The codes that Stripe documents, copied from its pages so that our table can be held against them."""

# https://docs.stripe.com/declines/codes, "Card decline codes", as of 2026
CARD_DECLINE_CODES = frozenset(
    [
        "authentication_required",
        "authentication_not_handled",
        "approve_with_id",
        "call_issuer",
        "card_not_supported",
        "card_velocity_exceeded",
        "currency_not_supported",
        "do_not_honor",
        "do_not_try_again",
        "duplicate_transaction",
        "expired_card",
        "fraudulent",
        "generic_decline",
        "incorrect_address",
        "incorrect_cvc",
        "incorrect_number",
        "incorrect_pin",
        "incorrect_zip",
        "insufficient_funds",
        "invalid_account",
        "invalid_amount",
        "invalid_cvc",
        "invalid_expiry_month",
        "invalid_expiry_year",
        "invalid_number",
        "invalid_pin",
        "issuer_not_available",
        "lost_card",
        "merchant_blacklist",
        "mobile_device_authentication_required",
        "new_account_information_available",
        "no_action_taken",
        "not_permitted",
        "offline_pin_required",
        "online_or_offline_pin_required",
        "pickup_card",
        "pin_try_exceeded",
        "processing_error",
        "reenter_transaction",
        "restricted_card",
        "revocation_of_all_authorizations",
        "revocation_of_authorization",
        "security_violation",
        "service_not_allowed",
        "stolen_card",
        "stop_payment_order",
        "testmode_decline",
        "transaction_not_allowed",
        "try_again_later",
        "withdrawal_count_limit_exceeded",
    ]
)

# The same page, "Local payment method decline codes"
LOCAL_DECLINE_CODES = frozenset(
    [
        "card_already_activated",
        "code_expired",
        "compliance_violation",
        "currency_not_supported",
        "duplicate_transaction",
        "expired_card",
        "expired_payment_information",
        "insufficient_funds",
        "invalid_amount",
        "invalid_authorization",
        "invalid_billing_agreement",
        "invalid_business_account",
        "invalid_customer_account",
        "invalid_payment_information",
        "invalid_track_data",
        "lost_or_stolen_card",
        "partner_action_not_supported",
        "partner_generic_decline",
        "partner_high_risk_customer",
        "partner_payment_not_found",
        "payment_disputed",
        "payment_limit_exceeded",
        "processing_error",
        "recurring_not_supported_by_bank",
    ]
)

# The same page: "don't report more detailed information to your customer", or "it's possible it was reported lost
# or stolen"; security_violation, partner_high_risk_customer and compliance_violation by our own caution.
FRAUD_DECLINE_CODES = frozenset(
    [
        "compliance_violation",
        "fraudulent",
        "lost_card",
        "lost_or_stolen_card",
        "merchant_blacklist",
        "partner_high_risk_customer",
        "pickup_card",
        "restricted_card",
        "security_violation",
        "stolen_card",
    ]
)

# https://docs.stripe.com/billing/revenue-recovery/smart-retries, "Hard decline codes": Stripe won't repeat these on
# the same card (highest_risk_level, the ninth, is an outcome's reason)
HARD_DECLINE_CODES = frozenset(
    [
        "authentication_required",
        "incorrect_number",
        "lost_card",
        "pickup_card",
        "revocation_of_all_authorizations",
        "revocation_of_authorization",
        "stolen_card",
        "transaction_not_allowed",
    ]
)

# https://docs.stripe.com/declines and https://docs.stripe.com/api/charges/object#charge_object-outcome-reason
RADAR_REASONS = frozenset(["elevated_risk_level", "highest_risk_level", "low_probability_of_authorization", "rule"])

# https://developer.paypal.com/braintree/docs/reference/general/merchant-responses/merchant-advice-codes and
# https://docs.payabl.com/docs/mastercard-merchant-advice-codes
MERCHANT_ADVICE_CODES = frozenset(
    ["01", "02", "03", "04", "05", "21", "22", "24", "25", "26", "27", "28", "29", "30", "40", "41", "42", "43"]
)

# The former: "Retry after 1 hour" to "Retry after 10 days"
MERCHANT_ADVICE_WAITS_HOURS = {"24": 1, "25": 24, "26": 48, "27": 96, "28": 144, "29": 192, "30": 240}
