"""What the specification excludes is refused; the defaults fit one another."""

from __future__ import annotations

import pytest

from nexusd_protocols import limits
from nexusd_protocols.gossipsub.params import Params, ScoreParams, TopicScoreParams, decay_over


@pytest.mark.parametrize(
    "wrong",
    [
        {"d_low": 7},
        {"d_high": 5},
        {"d_score": 13},
        {"d_low": -1},
        {"d_out": 4},
        {"d": 4, "d_low": 4, "d_out": 3},
        {"mcache_gossip": 6},
        {"mcache_gossip": 0},
        {"score": ScoreParams(gossip_threshold=0)},
        {"score": ScoreParams(publish_threshold=-400)},
        {"score": ScoreParams(graylist_threshold=-1000)},
        {"score": ScoreParams(accept_px_threshold=-1)},
        {"score": ScoreParams(opportunistic_graft_threshold=-1)},
    ],
)
def test_what_the_specification_excludes(wrong):
    with pytest.raises(ValueError, match=r"."):
        Params(**wrong)


def test_a_bootstrapper_has_no_mesh():
    # gossipsub-v1.1 "Recommendations for Network Operators": D = D_lo = D_hi = D_out = 0
    assert Params(d=0, d_low=0, d_high=0, d_out=0, d_score=0).d == 0


def test_a_topic_may_have_numbers_of_its_own():
    special = TopicScoreParams(topic_weight=2)
    params = ScoreParams(topics={"special": special})
    assert params.for_topic("special") is special
    assert params.for_topic("other") is params.topic


def test_decay():
    assert decay_over(100) ** 100 == pytest.approx(0.01)


def test_merit_never_pays_for_misbehaviour():
    score = ScoreParams()
    assert score.topic_score_cap < -score.topic.invalid_message_deliveries_weight
    assert score.topic_score_cap < -score.gossip_threshold


def test_the_fifth_invalid_message_makes_the_graylist_whatever_went_before():
    score = ScoreParams()
    weight = score.topic.invalid_message_deliveries_weight
    assert score.topic_score_cap + weight * 5**2 < score.graylist_threshold
    assert weight * 2**2 < score.gossip_threshold
    assert weight * 3**2 < score.publish_threshold


def test_the_answer_to_the_largest_iwant_is_read_whole():
    params = Params()
    assert params.bounds.rpc_messages >= params.max_ihave_length


def test_bounds_let_through_what_is_allowed():
    params = Params()
    assert params.bounds.message_id_bytes >= limits.MESSAGE_ID_CHARS
    assert params.bounds.rpc_ids >= params.max_ihave_length
    # the longest IHAVE fits an RPC
    assert params.max_ihave_length * (limits.MESSAGE_ID_CHARS + 2) < params.bounds.rpc_bytes
    assert params.bounds.validation_bytes > limits.ROOM_MESSAGE_BYTES
    assert params.bounds.iwant_bytes > limits.ROOM_MESSAGE_BYTES
