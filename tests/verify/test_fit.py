from gnivo_edu import verify
from gnivo_edu.verify import fit as fitting


def test_a_fit_that_misses_fails_the_report(monkeypatch):
    monkeypatch.setattr(fitting, "FIT_STEPS", 2)
    assert verify.fit_transformer()["passed"]
    monkeypatch.setattr(fitting, "KL_LIMIT", -1.0)
    assert not verify.fit_transformer()["passed"]
    missed = verify.verify_transformer(["RandomTree"], alphas=[0.5], group_sizes=[2])
    assert missed["results"][0]["passed"]
    assert not missed["passed"]
