"""What CloudWatch has been told by the functions of a stage: for numbers that no database can know."""

from datetime import UTC, datetime, timedelta

from functions.shared.metrics import METRICS, NAMESPACE, STAGE


class NoAnswerError(Exception):
    """CloudWatch did not say; the message names the kind of failure."""


def rate(stage: str, metric: str, window_seconds: int) -> float | None:
    """The average of a metric of ones and zeros over the window, None when it was not told in it.

    With the process's AWS credentials, which need `cloudwatch:GetMetricStatistics`. Raises NoAnswerError.
    """
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    assert METRICS[metric].dimensions == STAGE
    now = datetime.now(UTC)
    try:
        config = Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 2})
        answer = boto3.client("cloudwatch", config=config).get_metric_statistics(
            Namespace=NAMESPACE,
            MetricName=metric,
            Dimensions=[{"Name": "Stage", "Value": stage}],
            StartTime=now - timedelta(seconds=window_seconds),
            EndTime=now,
            # So long that no more than 1,440 points come back, the most that CloudWatch gives.
            Period=max(60, window_seconds // 1000 // 60 * 60),
            Statistics=["Sum", "SampleCount"],
        )
    except (BotoCoreError, ClientError) as error:
        raise NoAnswerError(type(error).__name__) from None
    tries = sum(point["SampleCount"] for point in answer["Datapoints"])
    return sum(point["Sum"] for point in answer["Datapoints"]) / tries if tries else None
