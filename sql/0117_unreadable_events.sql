-- migrate:up
-- An event whose object nobody can read is stored as failed: it is seen, sent again by Stripe, and blocks no other.

create or replace function internal.apply_event(p_handler text, p_facts jsonb) returns jsonb
language plpgsql
set search_path = ''
as $$
begin
  case p_handler
    when 'payment_intent' then
      return internal.settle_payment(p_facts, null);
    when 'setup_intent' then
      return jsonb_build_object('result', internal.settle_setup_intent(p_facts));
    when 'charge' then
      return jsonb_build_object('result', internal.enrich_attempt(p_facts));
    when 'refund' then
      return internal.settle_refund(p_facts);
    when 'dispute' then
      return internal.settle_dispute(p_facts);
    when 'fraud_warning' then
      return internal.settle_fraud_warning(p_facts);
    when 'review' then
      return internal.settle_review(p_facts);
    when 'hold_expired' then
      return internal.settle_hold_expired(p_facts);
    when 'card' then
      return internal.settle_card(p_facts);
    when 'customer_deleted' then
      return internal.settle_customer_deleted(p_facts);
    when 'unreadable' then
      -- internal.try_event stores it as failed; functions/shared/stripe_events/inbox.py says when.
      raise exception using errcode = '22000', message = 'the event cannot be read';
    else
      return jsonb_build_object('result', 'stored_only');
  end case;
end
$$;
