"""The card as JSON and as a page."""

from __future__ import annotations

import json


def test_the_card_is_json_and_a_page(cards):
    for card in cards.values():
        data = json.loads(json.dumps(card.to_json(), allow_nan=False))
        assert data["passed"] == card.passed
        assert data["verdict"] in card.text()
        assert max(len(row) for row in card.text(width=90).splitlines()) <= 90
    assert cards["leaks_padding"].seconds < 60  # it was given three
    assert "9/280" in cards["softmax"].text()
