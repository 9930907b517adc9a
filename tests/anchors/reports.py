"""Twenty kinds of trouble that users of other rerank servers reported, each with the tests here that would fail if we had it too."""

from __future__ import annotations

from typing import NamedTuple

PROCESSES, HTTP, ENGINE, FAMILIES, MODELS, UNIT = (
    "tests/processes/",
    "tests/http/",
    "tests/unit/engine/",
    "tests/unit/families/",
    "tests/models/",
    "tests/unit/",
)
HERE = "tests/anchors/test_reports.py"


class Trouble(NamedTuple):
    """`where`: the projects and issues; `tests`: FILE::FUNCTION."""

    what: str
    where: str
    tests: tuple[str, ...]


REPORTS: dict[int, Trouble] = {
    1: Trouble(
        "a full queue ends the server",
        "text-embeddings-inference 811, 744, 470, 424",
        (
            f"{PROCESSES}test_callers.py::test_a_full_queue_refuses_at_once_and_says_when_to_come_again",
            f"{ENGINE}test_engine_admission.py::test_no_two_owners_get_the_last_room",
        ),
    ),
    2: Trouble(
        "after an exception in a worker calls never end, and then all are refused while health says ok",
        "Infinity 668, 242, 614, 609",
        (
            f"{HERE}::test_report_02_an_exception_while_scoring_ends_its_call_and_no_other",
            f"{PROCESSES}test_workers.py::test_a_pair_that_raises_fails_alone",
            f"{PROCESSES}test_workers.py::test_a_hang_is_found_within_the_forward_limit",
            f"{PROCESSES}test_service.py::test_a_crash_loop_is_told_and_overcome",
        ),
    ),
    3: Trouble(
        "a call is refused after a part of it was computed",
        "text-embeddings-inference 662, 145",
        (
            f"{HERE}::test_report_03_of_a_refused_call_nothing_is_computed",
            f"{HTTP}test_rerank.py::test_several_queries_are_admitted_as_one",
        ),
    ),
    4: Trouble(
        "more than 32 documents, or 2 MB, are refused, in plain text",
        "text-embeddings-inference 378, 50",
        (
            f"{HERE}::test_report_04_a_thousand_documents_of_megabytes_are_ranked_by_default",
            f"{HTTP}test_refusals.py::test_limits_name_their_settings",
        ),
    ),
    5: Trouble(
        "a queue without a bound, or one whose bound is checked before it is counted",
        "vLLM 18826, 2901, 13395, 58192",
        (
            f"{ENGINE}test_engine_admission.py::test_no_two_owners_get_the_last_room",
            f"{ENGINE}test_engine_admission.py::test_it_is_released_whatever_happens",
            f"{ENGINE}test_engine_admission.py::test_the_limit_counts_all_owners",
        ),
    ),
    6: Trouble(
        "callers are served one after another: the front is the bottleneck",
        "vLLM 43444, 41390, 52630, 22048, 22941",
        (
            f"{HERE}::test_report_06_tokenizing_a_large_call_holds_nobody_up",
            f"{PROCESSES}test_service.py::test_http_processes_stay_small",
            f"{HTTP}test_process.py::test_an_http_process_is_light",
        ),
    ),
    7: Trouble(
        "larger batches are slower, by their padding",
        "text-embeddings-inference 713",
        (
            f"{HERE}::test_report_07_hardly_a_token_is_padding_even_where_a_model_pads",
            f"{MODELS}test_layout.py::test_runs_tile_the_row",
            f"{MODELS}onednn/test_rows.py::test_little_is_wasted",
        ),
    ),
    8: Trouble(
        "out of memory with long documents, since batches are counted in documents",
        "Infinity 87, 517, 370",
        (
            f"{ENGINE}test_engine_planner.py::test_never_over_the_limits_but_for_a_single_entry",
            f"{ENGINE}test_engine_calibrate.py::test_measuring_ends_when_memory_does",
            f"{PROCESSES}test_workers.py::test_memory_that_does_not_hold_a_batch_costs_nobody_an_answer",
        ),
    ),
    9: Trouble(
        "out of memory, then a device that answers nothing any more",
        "text-embeddings-inference 350, 670; Xinference 2644, 3837",
        (
            f"{HERE}::test_report_09_memory_that_ran_out_costs_no_answer_and_is_counted",
            f"{PROCESSES}test_workers.py::test_an_error_on_an_accelerator_costs_the_process_not_the_service",
            f"{ENGINE}test_engine_worker.py::test_a_failed_accelerator_ends_the_worker",
        ),
    ),
    10: Trouble(
        "rerankers made of language models are not served",
        "text-embeddings-inference 643, 691, 695, 835, 886",
        (
            f"{MODELS}test_parity.py::test_float32_equals_the_reference",
            f"{FAMILIES}test_prompted_ids.py::test_any_text",
            f"{FAMILIES}test_detect_prompted.py::test_families",
        ),
    ),
    11: Trouble(
        "without its template a model gives nonsense and 200",
        "vLLM 21681, 23615, 24242, 27857, 22983",
        (
            f"{FAMILIES}test_detect_prompted.py::test_ambiguous_checkpoints_ask_for_a_recipe",
            f"{FAMILIES}test_detect_prompted.py::test_a_reranking_template_that_is_not_known",
            f"{MODELS}test_parity.py::test_float32_equals_the_reference",
        ),
    ),
    12: Trouble(
        "sigmoids in half precision are all 1.0, and the order is lost",
        "mteb 4932, 4934; Infinity 203",
        (
            f"{HERE}::test_report_12_scores_that_round_to_one_keep_their_order",
            f"{FAMILIES}test_activate.py::test_order_is_kept",
            f"{HTTP}test_rerank.py::test_documents_come_back_best_first_with_real_token_counts",
        ),
    ),
    13: Trouble(
        "scores differ from the reference, and between batches",
        "text-embeddings-inference 618, 615",
        (
            f"{MODELS}test_parity.py::test_company_and_order_do_not_matter",
            f"{MODELS}test_parity.py::test_bfloat16_stays_in_its_bound_and_keeps_order",
            f"{PROCESSES}test_starter.py::test_company_changes_no_score",
        ),
    ),
    14: Trouble(
        "scores that are no numbers, and one fails the whole batch",
        "text-embeddings-inference 815, 845; Infinity 328, 388",
        (
            f"{HTTP}test_rerank.py::test_nan_fails_its_document_only",
            f"{MODELS}test_scorer.py::test_a_nan_stays_in_its_own_sequence",
            f"{ENGINE}test_engine_worker.py::test_nan_stays_with_its_document",
        ),
    ),
    15: Trouble(
        "a document over the limit fails the call, or eats the query, or is cut in silence",
        "text-embeddings-inference 356, 227, 218; llama.cpp 11105",
        (
            f"{HTTP}test_rerank.py::test_a_cut_document_is_reported",
            f"{FAMILIES}test_pair_ids.py::test_long_documents_are_cut_as_the_reference_cuts_them",
            f"{FAMILIES}test_limits.py::test_a_long_query_is_refused",
            f"{HTTP}test_refusals.py::test_a_query_too_long_without_truncation",
        ),
    ),
    16: Trouble(
        "what will be cut is tokenized first, all of it",
        "mteb 5022; Infinity 561",
        (
            f"{FAMILIES}test_limits.py::test_a_million_characters_cost_little",
            f"{FAMILIES}test_limits.py::test_long_text",
        ),
    ),
    17: Trouble(
        "metrics of several processes clash, are empty, or jump",
        "text-embeddings-inference 729, 520, 499",
        (
            f"{HERE}::test_report_17_counters_never_fall_whichever_process_is_asked",
            f"{HTTP}test_watching.py::test_every_series_is_there_at_zero",
            f"{HTTP}test_watching.py::test_any_process_tells_the_sum_and_a_successor_goes_on",
        ),
    ),
    18: Trouble(
        "memory grows with every large call",
        "text-embeddings-inference 156",
        (
            f"{HERE}::test_report_18_large_calls_leave_no_memory_behind",
            f"{UNIT}test_token_cache.py::test_the_bound_is_that_of_real_memory",
            f"{MODELS}onednn/test_memory.py::test_memory_does_not_grow_with_batches",
        ),
    ),
    19: Trouble(
        "work goes on for callers who have left",
        "vLLM 55502; text-embeddings-inference 455",
        (
            f"{PROCESSES}test_callers.py::test_a_caller_who_hangs_up_is_not_worked_for",
            f"{PROCESSES}test_callers.py::test_a_callers_deadline_is_kept",
            f"{HTTP}test_process.py::test_a_caller_who_hangs_up_frees_the_queue",
        ),
    ),
    20: Trouble(
        "no API that clients speak, no keys, no TLS, no plan of capacity, one device a server, a reranker taken for an embedder",
        "text-embeddings-inference 683, 204, 392, 87, 206, 349, 411, 474",
        (
            f"{UNIT}dialects/test_captured.py::test_captured",
            f"{PROCESSES}test_listening.py::test_keys_and_limits_over_a_unix_socket",
            f"{PROCESSES}test_listening.py::test_tls_and_http2",
            f"{UNIT}test_capacity.py::test_the_answer_holds_and_one_fewer_does_not",
            f"{ENGINE}test_engine_placement.py::test_devices",
            f"{FAMILIES}test_detect.py::test_headless_classes",
            f"{MODELS}test_refusals.py::test_missing_weights_are_named",
        ),
    ),
}
