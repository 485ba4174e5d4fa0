"""What each error `code` means for us where no issuer's decline says more: rows as in `decline_table`.

Source: https://docs.stripe.com/error-codes; a test holds this file to the list in the SDK we use.

Imported on the cold-start path: standard library only.
"""

from typing import Final

from functions.shared.decline_table import (
    ADDRESS,
    AUTHENTICATE,
    CARD_DECLINE_CODES,
    CVC,
    DAY_SECONDS,
    EXPIRED,
    EXPIRY,
    GENERIC,
    NUMBER,
    POSTAL_CODE,
    DeclineCategory,
    Rule,
)

_RETRY = DeclineCategory.RETRY_LATER
_OTHER = DeclineCategory.OTHER_CARD
_USER = DeclineCategory.USER_ACTION
_UPDATE = DeclineCategory.UPDATE_CARD
_STOP = DeclineCategory.STOP

_STATE: Final = Rule(_STOP, "This payment is not in the state that we expected.")
_MANDATE: Final = Rule(
    _UPDATE,
    "Your permission to charge this card is no longer valid.",
    no_retry=True,
)
_BUSY: Final = Rule(_RETRY, "The payment system was busy.")
_FAILED_AUTHENTICATION: Final = Rule(
    _USER,
    "This payment was not confirmed with your bank.",
    "Please open your booking to confirm it, or choose another card.",
)

ERROR_CODES: Final[dict[str, Rule]] = {
    "authentication_failure": _FAILED_AUTHENTICATION,
    "authentication_required": AUTHENTICATE,
    "billing_invalid_mandate": _MANDATE,
    "capture_charge_authorization_expired": Rule(_STOP, "The hold on your card for this payment has ended."),
    "card_decline_rate_limit_exceeded": Rule(
        _RETRY, "This card has been declined too many times today.", wait_seconds=DAY_SECONDS
    ),
    "card_declined": GENERIC,
    "charge_already_captured": _STATE,
    "charge_already_refunded": _STATE,
    "charge_disputed": Rule(_STOP, "There is an open dispute about this payment."),
    "charge_expired_for_capture": Rule(_STOP, "The hold on your card for this payment has ended."),
    "expired_card": EXPIRED,
    "expired_payment_method": EXPIRED,
    "idempotency_key_in_use": Rule(_STOP, "This payment is already being processed."),
    "incorrect_address": ADDRESS,
    "incorrect_cvc": CVC,
    "incorrect_number": NUMBER,
    "incorrect_postal_code": POSTAL_CODE,
    "incorrect_zip": POSTAL_CODE,
    "india_recurring_payment_mandate_canceled": _MANDATE,
    "insufficient_funds": CARD_DECLINE_CODES["insufficient_funds"],
    "intent_invalid_state": _STATE,
    "invalid_card_type": Rule(_OTHER, "This kind of card can't be used for this payment."),
    "invalid_cvc": CVC,
    "invalid_expiry_month": EXPIRY,
    "invalid_expiry_year": EXPIRY,
    "invalid_number": NUMBER,
    "invoice_payment_intent_requires_action": AUTHENTICATE,
    "lock_timeout": _BUSY,
    "payment_intent_action_required": AUTHENTICATE,
    "payment_intent_authentication_failure": _FAILED_AUTHENTICATION,
    "payment_intent_mandate_invalid": _MANDATE,
    "payment_intent_payment_attempt_expired": Rule(_OTHER, "The time to finish this payment ran out."),
    "payment_intent_payment_attempt_failed": GENERIC,
    "payment_intent_rate_limit_exceeded": _BUSY,
    "payment_intent_unexpected_state": _STATE,
    "payment_method_billing_details_address_missing": Rule(_UPDATE, "The billing address of this card is missing."),
    "payment_method_currency_mismatch": Rule(_OTHER, "This card can't be charged in this currency."),
    "payment_method_customer_decline": Rule(_OTHER, "This payment was not confirmed.", "Please choose another card."),
    "payment_method_not_available": Rule(_RETRY, "The payment provider could not be reached."),
    "payment_method_provider_decline": GENERIC,
    "payment_method_provider_timeout": Rule(_RETRY, "The payment provider did not answer in time."),
    "payment_method_restricted": GENERIC,
    "payment_method_unexpected_state": Rule(
        _UPDATE,
        "This card can no longer be charged.",
        no_retry=True,
    ),
    "postal_code_invalid": POSTAL_CODE,
    "processing_error": CARD_DECLINE_CODES["processing_error"],
    "rate_limit": _BUSY,
    "refer_to_customer": GENERIC,
    "refund_disputed_payment": Rule(_STOP, "There is an open dispute about this payment."),
    "setup_attempt_failed": Rule(_UPDATE, "This card could not be saved.", "Please try again, or add another card."),
    "setup_intent_authentication_failure": Rule(
        _USER,
        "This card was not confirmed with your bank.",
        "Please try to save it again, or add another card.",
    ),
    "setup_intent_mandate_invalid": _MANDATE,
    "setup_intent_setup_attempt_expired": Rule(
        _USER, "The time to save this card ran out.", "Please try to save it again, or add another card."
    ),
    "setup_intent_unexpected_state": _STATE,
    "three_d_secure_authentication_not_supported": Rule(
        _OTHER, "This card can't be confirmed with your bank online.", "Please choose another card."
    ),
    "three_d_secure_authentication_upstream_error": Rule(_RETRY, "Your bank's confirmation service was not available."),
}

# Everything else that https://docs.stripe.com/error-codes lists: parameters, keys, modes, other products.
# This backend asks Stripe for card payments only, so each of these says that our request or our account is
# wrong. Trying the backup cards would only repeat the mistake on every card the cardholder has.
OUR_BUG_CODES: Final = frozenset(
    """
    account_closed account_country_invalid_address account_error_country_change_requires_additional_steps
    account_information_mismatch account_invalid account_number_invalid account_token_required_for_v2_account
    acss_debit_session_incomplete action_blocked alipay_upgrade_required amount_too_large amount_too_small
    anomalous_money_movement_request api_key_expired application_fees_not_allowed approval_required
    balance_insufficient balance_invalid_parameter bank_account_bad_routing_numbers bank_account_declined
    bank_account_exists bank_account_restricted bank_account_unusable bank_account_unverified
    bank_account_verification_failed bitcoin_upgrade_required capability_not_active
    capture_unauthorized_payment cardholder_phone_number_required charge_exceeds_source_limit
    charge_exceeds_transaction_limit charge_invalid_parameter charge_not_refundable clearing_code_unsupported
    country_code_invalid country_unsupported coupon_expired customer_max_payment_methods
    customer_max_subscriptions customer_session_expired customer_tax_location_invalid debit_not_authorized
    dispute_evidence_page_limit_exceeded email_invalid failed_tax_calculation
    financial_account_balance_does_not_support_currency financial_account_capability_not_enabled
    financial_account_capability_restricted financial_connections_account_inactive
    financial_connections_account_pending_account_numbers
    financial_connections_account_unavailable_account_numbers financial_connections_consent_locale_invalid
    financial_connections_consent_locale_unsupported financial_connections_no_successful_transaction_refresh
    forwarding_api_inactive forwarding_api_invalid_parameter forwarding_api_retryable_upstream_error
    forwarding_api_upstream_connection_error forwarding_api_upstream_connection_timeout
    forwarding_api_upstream_error instant_payouts_config_disabled instant_payouts_currency_disabled
    instant_payouts_limit_exceeded instant_payouts_unsupported intent_verification_method_missing
    invalid_canceled_subscription_fields invalid_characters invalid_charge_amount
    invalid_mandate_reference_prefix_format invalid_source_usage invalid_tax_location
    invoice_no_customer_line_items invoice_no_payment_method_types invoice_no_subscription_line_items
    invoice_not_editable invoice_on_behalf_of_not_editable invoice_upcoming_none livemode_mismatch missing
    no_account not_allowed_on_standard_account out_of_inventory ownership_declaration_not_allowed
    parameter_invalid_empty parameter_invalid_integer parameter_invalid_string_blank
    parameter_invalid_string_empty parameter_missing parameter_unknown parameters_exclusive
    payment_evaluation_on_api_version_not_supported payment_intent_incompatible_payment_method
    payment_intent_invalid_parameter payment_intent_konbini_rejected_confirmation_number
    payment_method_bank_account_already_verified payment_method_bank_account_blocked
    payment_method_configuration_failures payment_method_invalid_parameter
    payment_method_invalid_parameter_testmode payment_method_microdeposit_failed
    payment_method_microdeposit_processing_error payment_method_microdeposit_verification_amounts_invalid
    payment_method_microdeposit_verification_amounts_mismatch
    payment_method_microdeposit_verification_attempts_exceeded
    payment_method_microdeposit_verification_descriptor_code_mismatch
    payment_method_microdeposit_verification_timeout payment_method_unactivated
    payment_method_unsupported_type payout_reconciliation_not_ready payouts_limit_exceeded payouts_not_allowed
    platform_account_required platform_api_key_expired product_inactive progressive_onboarding_limit_exceeded
    request_blocked resource_already_exists resource_missing return_intent_already_processed
    routing_number_invalid secret_key_required sepa_unsupported_account
    service_period_coupon_with_metered_tiered_item_unsupported setup_intent_invalid_parameter
    setup_intent_mobile_wallet_unsupported shipping_address_invalid shipping_calculation_failed siret_invalid
    sku_inactive smart_disputes_not_available state_unsupported status_transition_invalid
    storer_capability_missing storer_capability_not_active stripe_tax_inactive
    subscription_update_trial_after_billing_cycle_anchor tax_id_invalid tax_id_prohibited
    taxes_calculation_failed terminal_location_country_unsupported terminal_reader_busy
    terminal_reader_hardware_fault terminal_reader_invalid_location_for_activation
    terminal_reader_invalid_location_for_payment terminal_reader_offline terminal_reader_timeout
    testmode_charges_only tls_version_unsupported token_already_used token_card_network_invalid token_in_use
    transfer_source_balance_parameters_mismatch transfers_not_allowed url_invalid
    """.split()  # noqa: SIM905 - as a list this would be 150 lines of one word
)
