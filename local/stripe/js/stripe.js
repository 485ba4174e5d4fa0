// A small stand-in for Stripe.js (https://docs.stripe.com/js): enough to save a card and to finish a payment on a page.
// It talks to the server it was loaded from, with the publishable key and an intent's client secret.
(() => {
  "use strict";

  const origin = new URL(document.currentScript.src).origin;

  // ---- talking to the API ------------------------------------------------------------------------------------------

  function encode(value, name = "", into = new URLSearchParams()) {
    if (value === undefined || value === null) return into;
    if (typeof value === "object") {
      for (const [key, item] of Object.entries(value)) encode(item, name ? `${name}[${key}]` : key, into);
    } else {
      into.append(name, String(value));
    }
    return into;
  }

  async function call(key, method, path, params = {}) {
    const form = encode(params).toString();
    const address = method === "GET" ? `${origin}${path}?${form}` : `${origin}${path}`;
    const headers = { Authorization: `Bearer ${key}` };
    if (method !== "GET") headers["Content-Type"] = "application/x-www-form-urlencoded";
    try {
      const response = await fetch(address, { method, headers, body: method === "GET" ? undefined : form });
      const body = await response.json();
      return response.ok ? { value: body } : { error: body.error };
    } catch {
      return { error: { type: "api_connection_error", message: "We could not reach Stripe. Please try again." } };
    }
  }

  function integrationError(message) {
    const error = new Error(message);
    error.name = "IntegrationError";
    return error;
  }

  // "seti_1_secret_2" → where that intent lives and what the result calls it.
  function locate(clientSecret) {
    const match = /^((seti|pi)_[A-Za-z0-9]+)_secret_[A-Za-z0-9]+$/.exec(clientSecret || "");
    if (!match) throw integrationError("Invalid value for clientSecret: it should be pi_…_secret_… or seti_…_secret_….");
    const setup = match[2] === "seti";
    return {
      path: `/v1/${setup ? "setup" : "payment"}_intents/${match[1]}`,
      id: match[1],
      name: setup ? "setupIntent" : "paymentIntent",
      lastError: setup ? "last_setup_error" : "last_payment_error",
    };
  }

  // ---- elements ----------------------------------------------------------------------------------------------------

  const FIELDS = [
    { name: "number", label: "Card number", placeholder: "4242 4242 4242 4242", autocomplete: "cc-number" },
    { name: "expiry", label: "Expiry (MM/YY)", placeholder: "12/34", autocomplete: "cc-exp" },
    { name: "cvc", label: "Security code", placeholder: "123", autocomplete: "cc-csc" },
  ];

  class Element {
    constructor(type) {
      this.type = type;
      this.inputs = {};
      this.listeners = {};
    }

    mount(where) {
      const place = typeof where === "string" ? document.querySelector(where) : where;
      if (!place) throw integrationError(`The selector you specified (${where}) applies to no DOM element.`);
      this.root = document.createElement("div");
      this.root.className = "StripeElement";
      for (const field of FIELDS) {
        const label = document.createElement("label");
        label.textContent = field.label;
        const input = document.createElement("input");
        Object.assign(input, { name: field.name, placeholder: field.placeholder, autocomplete: field.autocomplete });
        input.inputMode = "numeric";
        input.addEventListener("input", () => this.emit("change", this.state()));
        label.append(input);
        this.root.append(label);
        this.inputs[field.name] = input;
      }
      place.append(this.root);
      queueMicrotask(() => this.emit("ready", { elementType: this.type }));
    }

    state() {
      const values = Object.values(this.inputs).map((input) => input.value.trim());
      const complete = values.length > 0 && values.every(Boolean);
      return { elementType: this.type, complete, empty: !values.some(Boolean), error: undefined };
    }

    on(event, listener) {
      (this.listeners[event] ||= []).push(listener);
      return this;
    }

    off(event, listener) {
      this.listeners[event] = (this.listeners[event] || []).filter((each) => listener && each !== listener);
      return this;
    }

    emit(event, payload) {
      for (const listener of this.listeners[event] || []) listener(payload);
    }

    update() {}

    clear() {
      for (const input of Object.values(this.inputs)) input.value = "";
    }

    focus() {
      this.inputs.number?.focus();
    }

    unmount() {
      this.root?.remove();
    }

    destroy() {
      this.unmount();
    }

    // The card as the API takes it.
    card() {
      const [month, year] = (this.inputs.expiry?.value || "").split("/").map((part) => part.trim());
      return {
        number: (this.inputs.number?.value || "").replace(/\s+/g, ""),
        exp_month: month || undefined,
        exp_year: year || undefined,
        cvc: this.inputs.cvc?.value.trim() || undefined,
      };
    }
  }

  class Elements {
    constructor(options = {}) {
      this.options = options;
      this.created = {};
    }

    create(type) {
      if (!["payment", "card"].includes(type)) throw integrationError(`This stand-in has no ${type} element.`);
      if (this.created[type]) throw integrationError(`Can only create one Element of type ${type}.`);
      this.created[type] = new Element(type);
      return this.created[type];
    }

    getElement(type) {
      return this.created[type] || null;
    }

    update(options) {
      Object.assign(this.options, options);
    }

    async submit() {
      const element = this.created.payment || this.created.card;
      if (!element || element.state().complete) return { selectedPaymentMethod: "card" };
      return { error: { type: "validation_error", code: "incomplete_number", message: "Your card number is incomplete." } };
    }
  }

  // ---- 3D Secure ---------------------------------------------------------------------------------------------------

  // Ask as a bank would; resolves once the cardholder has answered.
  function askCardholder(intentId, clientSecret) {
    return new Promise((resolve) => {
      const dialog = document.createElement("dialog");
      dialog.setAttribute("aria-label", "3D Secure authentication");
      dialog.className = "StripeThreeDSecure";
      const text = document.createElement("p");
      text.textContent = "3D Secure test page: your bank asks you to confirm this.";
      dialog.append(text);
      const close = (outcome) => {
        dialog.close?.();
        dialog.remove();
        resolve(outcome);
      };
      const answer = (outcome) => async () => {
        await fetch(`${origin}/_3ds/${intentId}/${outcome}`, {
          method: "POST",
          headers: { "Content-Type": "application/x-www-form-urlencoded" },
          body: new URLSearchParams({ client_secret: clientSecret, ajax: "true" }).toString(),
        });
        close(outcome);
      };
      for (const [label, id, onClick] of [
        ["Complete authentication", "test-source-authorize-3ds", answer("complete")],
        ["Fail authentication", "test-source-fail-3ds", answer("fail")],
      ]) {
        const button = document.createElement("button");
        button.type = "button";
        button.id = id;
        button.textContent = label;
        button.addEventListener("click", onClick);
        dialog.append(button);
      }
      dialog.addEventListener("cancel", answer("fail")); // closing the window is not authenticating
      document.body.append(dialog);
      dialog.showModal?.();
    });
  }

  // ---- Stripe ------------------------------------------------------------------------------------------------------

  window.Stripe = function Stripe(key) {
    if (typeof key !== "string" || !key.startsWith("pk_")) {
      throw integrationError("Please call Stripe() with your publishable key (pk_…), not a secret key.");
    }

    async function retrieve(clientSecret) {
      const where = locate(clientSecret);
      const result = await call(key, "GET", where.path, { client_secret: clientSecret });
      return result.error ? { error: result.error } : { [where.name]: result.value };
    }

    // What is left to do on an intent: nothing, the bank's question in a dialog, or a page to go to.
    async function follow(clientSecret, intent) {
      const where = locate(clientSecret);
      if (intent.status !== "requires_action") return { [where.name]: intent };
      if (intent.next_action.type === "redirect_to_url") {
        window.location.assign(intent.next_action.redirect_to_url.url);
        return new Promise(() => {});
      }
      await askCardholder(where.id, clientSecret);
      const result = await retrieve(clientSecret);
      const after = result[where.name];
      if (after && after[where.lastError]) return { error: { ...after[where.lastError], [snake(where.name)]: after } };
      return result;
    }

    const snake = (name) => name.replace("Intent", "_intent");

    async function confirm(clientSecret, params, handleActions = true) {
      const where = locate(clientSecret);
      const body = { ...params, client_secret: clientSecret, use_stripe_sdk: true };
      const result = await call(key, "POST", `${where.path}/confirm`, body);
      if (result.error) return { error: result.error };
      return handleActions ? follow(clientSecret, result.value) : { [where.name]: result.value };
    }

    // payment_method: an id, or {card: element | {token}, billing_details}.
    function methodOf(given) {
      if (given === undefined) return {};
      if (typeof given === "string") return { payment_method: given };
      const card = given.card instanceof Element ? given.card.card() : given.card;
      return { payment_method_data: { type: "card", card, billing_details: given.billing_details } };
    }

    // confirmSetup and confirmPayment: elements, or confirmParams with a payment method; then back to return_url.
    async function confirmWithElements({ elements, clientSecret, confirmParams = {}, redirect = "always" }) {
      const secret = clientSecret || elements?.options.clientSecret;
      if (redirect === "always" && !confirmParams.return_url) {
        throw integrationError("confirmParams.return_url is required unless redirect is 'if_required'.");
      }
      const { return_url: returnUrl, payment_method: id, payment_method_data: data = {}, ...rest } = confirmParams;
      const element = elements?.created.payment || elements?.created.card;
      const method = id ? { payment_method: id } : { payment_method_data: { type: "card", ...data, card: element?.card() } };
      const result = await confirm(secret, { ...rest, ...method, return_url: returnUrl });
      if (result.error || redirect !== "always") return result;
      const where = locate(secret);
      const target = new URL(returnUrl);
      target.searchParams.set(snake(where.name), where.id);
      target.searchParams.set(`${snake(where.name)}_client_secret`, secret);
      target.searchParams.set("redirect_status", "succeeded");
      window.location.assign(target.toString());
      return new Promise(() => {});
    }

    function confirmCard(clientSecret, data = {}, options = {}) {
      const { payment_method: given, ...rest } = data;
      return confirm(clientSecret, { ...rest, ...methodOf(given) }, options.handleActions !== false);
    }

    async function handleNextAction({ clientSecret }) {
      const result = await retrieve(clientSecret);
      if (result.error) return result;
      const intent = result[locate(clientSecret).name];
      if (intent.status !== "requires_action") {
        throw integrationError(`handleNextAction: the intent is not in the requires_action state (${intent.status}).`);
      }
      return follow(clientSecret, intent);
    }

    return {
      elements: (options) => new Elements(options),
      confirmSetup: confirmWithElements,
      confirmPayment: confirmWithElements,
      confirmCardSetup: confirmCard,
      confirmCardPayment: confirmCard,
      handleNextAction,
      handleCardAction: (clientSecret) => handleNextAction({ clientSecret }),
      retrieveSetupIntent: retrieve,
      retrievePaymentIntent: retrieve,
      async createPaymentMethod({ type = "card", card, elements, billing_details: billing, params = {} }) {
        const element = card instanceof Element ? card : elements?.created.payment || elements?.created.card;
        const details = billing || params.billing_details;
        const body = { type, card: element ? element.card() : card, billing_details: details };
        const result = await call(key, "POST", "/v1/payment_methods", body);
        return result.error ? { error: result.error } : { paymentMethod: result.value };
      },
    };
  };

  window.Stripe.version = 3;
})();
