"""A survey of planted clusters against one of none, kept and read back, and how well a map keeps neighbours."""

import torch

from armillary.methods.icn.key_survey import KeySurvey, kept_neighbours, survey
from armillary.methods.icn.report import finding, measures, section
from armillary.models import tiny
from armillary.records.plain import decode, plain


def test_a_survey_tells_planted_clusters_from_none() -> None:
    loaded = tiny()
    planted, unplanted = tiny(), survey(loaded, clusters=6)
    weight = planted.anatomy.head.weight
    assert isinstance(weight, torch.Tensor)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        groups = torch.arange(len(weight)) % 6
        centres = 10 * torch.nn.functional.one_hot(torch.arange(6), weight.shape[1]).float()
        weight.copy_(centres[groups] + 0.1 * torch.randn(weight.shape, generator=generator))
    found = survey(planted, clusters=6)
    name = "keys/within minus between"
    assert measures(found)[name].estimate > 1.0 > measures(unplanted)[name].estimate
    shown = section(found)
    assert "6 clusters" in shown.summary and shown.figures[0].kind == "points"
    assert finding(found).section == shown.id == "keys"
    assert survey(planted, clusters=6) == found
    assert decode(KeySurvey, plain(found), "the survey") == found


def test_kept_neighbours_by_hand() -> None:
    points = torch.arange(30).double().view(30, 1).numpy()
    assert kept_neighbours(points, points) == 1.0
    mixed = points[torch.randperm(30, generator=torch.Generator().manual_seed(0)).numpy()]
    assert kept_neighbours(points, mixed) < 0.7
