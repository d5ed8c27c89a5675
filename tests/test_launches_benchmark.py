"""Kernel counts of compiled programs in benchmarks.recurrent.launches."""

from benchmarks.runs.hlo import launches

PROGRAM = """HloModule jit_f, is_scheduled=true

%fused_add (param_0: f32[8]) -> f32[8] {
  %param_0 = f32[8]{0} parameter(0)
  ROOT %add = f32[8]{0} add(%param_0, %param_0)
}

%sliced.clone (param_0: f32[8]) -> f32[1] {
  %param_0 = f32[8]{0} parameter(0)
  ROOT %slice = f32[1]{0} slice(%param_0), slice={[0:1]}
}

%body (state: (s32[], f32[8])) -> (s32[], f32[8]) {
  %state = (s32[], f32[8]{0}) parameter(0)
  %x = f32[8]{0} get-tuple-element(%state), index=1
  %start = ((f32[8]{0}), f32[1]{0}, u32[]) fusion-start(%x), kind=kLoop, calls=%sliced.clone
  %y = f32[8]{0} fusion(%x), kind=kLoop, calls=%fused_add
  %z = (f32[8]{0}, s8[32]{0}) custom-call(%y), custom_call_target="__cublas$gemm"
  %done = f32[1]{0} fusion-done(%start)
  ROOT %tuple = (s32[], f32[8]{0}) tuple(%i, %y)
}

%condition (state: (s32[], f32[8])) -> pred[] {
  %state = (s32[], f32[8]{0}) parameter(0)
  ROOT %below = pred[] fusion(%state), kind=kLoop, calls=%fused_add
}

ENTRY %main (x: f32[8]) -> f32[8] {
  %x = f32[8]{0} parameter(0)
  %copy.1 = f32[8]{0} copy(%x)
  %loop = (s32[], f32[8]{0}) while(%tuple), condition=%condition, body=%body, backend_config={"known_trip_count":{"n":"10"}}
  ROOT %last = f32[8]{0} get-tuple-element(%loop), index=1
}
"""  # noqa: E501


def test_loop_kernels_count_once_per_iteration_and_fused_operations_do_not_count():
    assert launches(PROGRAM) == 1 + 10 * 3  # a copy; per iteration an async slice, a fusion and a cuBLAS call


def test_trip_count_is_derived_from_the_loop_condition():
    below = PROGRAM.replace('known_trip_count":{"n":"10"}', "").replace(
        "ROOT %below = pred[] fusion(%state), kind=kLoop, calls=%fused_add",
        "%end = s32[] constant(10)\n  ROOT %below = pred[] compare(%i, %end), direction=LT",
    )
    assert launches(below) == 1 + 10 * 4
