"""Settings of an mlx checkpoint under mlx-lm's names."""

from planner.worker.checkpoint_writers.mlx_configuration import mlx_configuration


def test_rotary_settings_are_said_where_mlx_lm_looks() -> None:
    plain = {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5, "partial_rotary_factor": 0.5}}
    assert mlx_configuration(plain) == {**plain, "rope_theta": 5e5, "partial_rotary_factor": 0.5}
    llama = {"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0}}
    scaling = {"type": "llama3", "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0}
    assert mlx_configuration(llama) == {**llama, "rope_theta": 5e5, "rope_scaling": scaling}
    kinds = {
        "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
        "sliding_attention": {"rope_theta": 1e4},
    }
    gemma = mlx_configuration({"rope_parameters": kinds})
    assert (gemma["rope_theta"], gemma["rope_local_base_freq"], gemma["rope_scaling"]["factor"]) == (1e6, 1e4, 8.0)


def test_what_a_configuration_says_is_kept() -> None:
    old = {"rope_theta": 1e4, "rope_scaling": None, "num_experts": 8, "num_local_experts": 8}
    assert mlx_configuration(old) == old
    assert mlx_configuration({"rope_theta": 1e4, "rope_parameters": {"rope_theta": 1e6}})["rope_theta"] == 1e4
    assert mlx_configuration({"num_local_experts": 4})["num_experts"] == 4
