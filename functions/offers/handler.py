"""POST /offers: the trusted feed brings offers; those that match automatic campaigns are charged through the queue."""

from functools import partial

from functions.offers.schemas import OffersAnswer, OffersRequest
from functions.shared import auth, database
from functions.shared.charge_queue import send_charges
from functions.shared.settings import MachineSettings, QueueSettings, function_settings, read
from functions.shared.web import Answer, Api, Call, NoQuery

api = Api("offers")
for group in (MachineSettings, QueueSettings):
    api.needs(partial(read, group))
api.needs(partial(function_settings, "offers"))


@api.operation("POST", "/offers", who="machine", body=OffersRequest, answers={202: OffersAnswer})
def post_offers(call: Call[OffersRequest, NoQuery]) -> Answer:
    """Store and match in one transaction, then put each match that is to be charged on the queue."""
    auth.machine(call)
    stored = database.as_function("offers", call.request_id).call(
        "ingest_offers", p_offers=[offer.model_dump(mode="json") for offer in call.body.offers]
    )
    send_charges([(campaign, offer["id"]) for offer in stored for campaign in offer["waiting"]])
    return Answer(202, {"offers": [{name: offer[name] for name in ("id", "status", "campaigns")} for offer in stored]})


handler = api.handler()
