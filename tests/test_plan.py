"""The plan of memory, by hand on small numbers."""

import dataclasses

import pytest

from alphanet_jax.errors import UserError
from alphanet_jax.experiment import memory
from alphanet_jax.experiment.memory import Needs, make_plan, round_up

NEEDS = Needs(
    num_runs=10,
    num_params=1000,
    num_features=20,
    num_classes=30,
    num_few=5,
    num_neighbors=2,
    num_sources=12,
    num_source_rows=14,
    num_train=5000,
    num_val=40,
    num_test=100,
    rows_once=50,
    rows_per_run=70,
    num_epochs=3,
    num_batches=4,
    batch_size=8,
    eval_batch_size=16,
    pass_rows=256,
)
# By hand: seven copies of the parameters; three of the 5 x 3 x 8 scores gathered for a
# batch, which are more than the 5 x 16 logits of a chunk and the 5 x 20 new weights;
# and a prediction for every test sample.
RUN_BYTES = 4 * (7 * 1000 + 3 * 120 + 100)
ROW_BYTES = 4 * (12 + 15)
FIXED = {
    "classifiers": 4 * 20 * (2 * 30 + 2 * 14),
    "evaluation scores": (40 + 100 + 2 * 16) * ROW_BYTES,
    "a pass over features": 4 * 256 * (20 + 4 * 30),
    "drawn rows": 5 * 10 * 3 * 4 * 8,
}


@pytest.fixture(autouse=True)
def no_program(monkeypatch):
    """Leaves the program's own memory out, next to which all else here is nothing."""
    monkeypatch.setattr(memory, "_PROGRAM_BYTES", 0)


def change(**sizes):
    return dataclasses.replace(NEEDS, **sizes)


def total(runs_at_a_time, table_rows, needs_per_device=None, fixed=FIXED):
    runs = runs_at_a_time if needs_per_device is None else needs_per_device
    return sum(fixed.values()) + RUN_BYTES * runs + ROW_BYTES * table_rows


def groups(needs, plan):
    return -(-needs.num_runs // plan.runs_at_a_time)


class TestRoundUp:
    def test_table(self):
        assert [round_up(n) for n in range(18)] == [
            *(0, 1, 2, 3, 4, 6, 6, 8, 8, 12, 12, 12, 12, 16, 16, 16, 16, 24),
        ]

    @pytest.mark.parametrize(
        ("number", "expected"),
        [(24, 24), (25, 32), (33, 48), (49, 64), (1025, 1536), (1537, 2048), (-3, 0)],
    )
    def test_larger(self, number, expected):
        assert round_up(number) == expected

    def test_never_less_nor_half_more_and_rarely_another(self):
        rounded = [round_up(n) for n in range(1, 5000)]
        for number, up in enumerate(rounded, 1):
            assert number <= up < 1.5 * number + 1
        assert rounded == sorted(rounded)
        assert len(set(rounded)) == 25


class TestNeeds:
    def test_by_hand(self):
        assert NEEDS.row_bytes == ROW_BYTES == 108
        assert NEEDS.run_bytes() == RUN_BYTES == 29840
        assert NEEDS.fixed_bytes() == {"the program": 0, **FIXED}
        # 50 rows that all use and 70 for each run, rounded up.
        assert [NEEDS.table_rows(n) for n in (1, 2, 10)] == [128, 192, 768]
        assert NEEDS.table_bytes(10) == 768 * 108

    def test_no_more_rows_than_there_are(self):
        assert change(num_train=600).table_rows(10) == 600

    @pytest.mark.parametrize(
        ("sizes", "largest"),
        [
            ({"batch_size": 100}, 5 * 3 * 100),
            ({"eval_batch_size": 1000}, 5 * 1000),
            ({"num_features": 900}, 5 * 900),
        ],
    )
    def test_the_largest_array_of_a_step_counts(self, sizes, largest):
        assert change(**sizes).run_bytes() == 4 * (7 * 1000 + 3 * largest + 100)


class TestMakePlan:
    def test_all_runs_at_once(self):
        plan = make_plan(NEEDS, limit=10**9)
        assert plan.runs_at_a_time == 10
        assert plan.shared_table
        assert plan.table_rows == 768
        assert plan.limit == 10**9
        assert plan.total == total(10, 768) == sum(plan.parts.values())
        assert plan.parts["networks in training"] == 10 * RUN_BYTES
        assert plan.parts["training scores"] == 768 * ROW_BYTES

    def test_exactly_what_fits(self):
        enough = total(10, 768)
        assert make_plan(NEEDS, limit=enough).runs_at_a_time == 10
        less = make_plan(NEEDS, limit=enough - 1)
        assert (less.runs_at_a_time, less.shared_table) == (5, True)
        assert less.total == total(5, 768)

    def test_groups_are_equal_and_as_large_as_fit(self):
        for size in (10, 5, 4, 3, 2, 1):
            plan = make_plan(NEEDS, limit=total(size, 768))
            assert (plan.runs_at_a_time, plan.shared_table) == (size, True)
        # Six to nine at a time need two groups as five do: none of them is better.
        assert make_plan(NEEDS, limit=total(9, 768)).runs_at_a_time == 5

    def test_a_table_for_each_group_when_that_of_all_does_not_fit(self):
        plan = make_plan(NEEDS, limit=total(1, 768) - 1)
        assert not plan.shared_table
        # Two at a time, of 192 rows, are more than one with all 768.
        assert plan.runs_at_a_time == 2
        assert plan.table_rows == 192
        assert plan.total == total(2, 192)
        plan = make_plan(NEEDS, limit=total(1, 128))
        assert (plan.runs_at_a_time, plan.table_rows) == (1, 128)

    def test_refusal_names_what_takes_the_memory(self, monkeypatch):
        limit = total(1, 128) - 1
        with pytest.raises(
            UserError,
            match=r"^--memory_gib: one run needs about 0\.0 GiB \(a pass over features "
            r"0\.0, networks in training 0\.0, .*\), and 0\.0 may be used; allow more, "
            r"or lower training\.train_batch_size or alphanet\.hdims$",
        ):
            make_plan(NEEDS, limit=limit)
        large = change(eval_batch_size=40 * 2**20)
        with pytest.raises(
            UserError,
            match=r"needs about 10\.\d GiB \(evaluation scores 8\.4, networks in "
            r"training 2\.3, .* and 2\.0 may be used; .*training\.eval_batch_size$",
        ):
            make_plan(large, limit=2 * 2**30)

    def test_large_networks_train_few_at_a_time_on_cpus(self):
        # 64 MiB of four copies: of 2**20 parameters, four networks; in equal groups.
        needs = change(num_params=2**20)
        assert make_plan(needs, limit=10**12).runs_at_a_time == 4
        assert make_plan(change(num_params=2**26), limit=10**12).runs_at_a_time == 1
        assert make_plan(needs, limit=10**12, platform="gpu").runs_at_a_time == 10

    @pytest.mark.parametrize(
        ("platform", "runs", "expected"),
        [
            ("cpu", 32, 32),
            ("cpu", 33, 17),
            ("cpu", 100, 25),
            ("gpu", 1024, 1024),
            ("gpu", 1025, 513),
        ],
    )
    def test_no_more_than_help(self, platform, runs, expected):
        needs = change(num_runs=runs)
        plan = make_plan(needs, limit=10**12, platform=platform)
        assert plan.runs_at_a_time == expected
        assert plan.shared_table

    @pytest.mark.parametrize(
        ("runs", "devices", "expected"),
        [(10, 2, 10), (10, 4, 12), (3, 8, 8), (1, 8, 8), (300, 8, 152)],
    )
    def test_devices_share_the_runs(self, runs, devices, expected):
        needs = change(num_runs=runs)
        plan = make_plan(needs, limit=10**12, num_devices=devices)
        assert plan.runs_at_a_time == expected
        assert plan.parts["networks in training"] == RUN_BYTES * expected // devices

    def test_more_devices_hold_more_runs(self):
        limit = total(3, 768)
        assert make_plan(NEEDS, limit=limit).runs_at_a_time == 3
        two = make_plan(NEEDS, limit=limit, num_devices=2)
        assert two.runs_at_a_time == 6
        assert two.total <= limit

    def test_in_words(self):
        needs = change(num_params=2**24)
        plan = make_plan(needs, limit=20 * 2**30, platform="gpu")
        assert str(plan) == (
            "memory: about 4.4 of 20.0 GiB (networks in training 4.4, "
            "a pass over features 0.0, training scores 0.0), 10 runs at a time"
        )


class TestAvailableBytes:
    def test_is_some_of_what_there_is(self):
        found = memory.available_bytes("cpu")
        assert isinstance(found, int)
        assert 0 < found <= 5 * 2**30

    def test_three_quarters_of_what_is_free(self, monkeypatch):
        monkeypatch.setattr(memory, "_free_bytes", lambda: 4 * 2**30)
        assert memory.available_bytes("cpu") == 3 * 2**30
        monkeypatch.setattr(memory, "_free_bytes", lambda: 4 * 2**40)
        assert memory.available_bytes("cpu") == 5 * 2**30
