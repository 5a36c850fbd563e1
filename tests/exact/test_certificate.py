import json

import toy_envs
from gnivo_edu import exact


def test_certificates_print_render_and_serialise():
    certificate = exact.verify_constant_shift(
        exact.enumerate_tree(toy_envs.PosterProblem()), 0.2, 2
    )
    assert str(certificate).startswith("HOLDS  Theorem 2")
    assert "credit error" in str(certificate)
    assert "<table>" in certificate._repr_html_()
    again = json.loads(certificate.to_json())
    assert again["passed"] is True
    assert again["measures"]["group_size"] == 2
    assert len(again["table"]) == 7
