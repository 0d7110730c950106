"""Reading XLA's text, on programs written by hand."""

import itertools

import pytest

from jaxrec.planning.chips import Slice, parse_topology
from jaxrec.planning.collectives import Collective, first_group, merged, seconds
from jaxrec.planning.hlo import Shape, parse_hlo, parse_shapes
from jaxrec.planning.hlo_cost import program_cost

# ruff: noqa: E501  (XLA's lines are long)

PROGRAM = """HloModule jit_step, is_scheduled=true, num_partitions=8

FileNames
1 "/site-packages/flax/linen/module.py"
2 "/repo/model.py"

FunctionNames
1 "call"

FileLocations
1 {file_name_id=1 function_name_id=1 line=7 end_line=7}
2 {file_name_id=2 function_name_id=1 line=42 end_line=42}

StackFrames
1 {file_location_id=2 parent_frame_id=1}
2 {file_location_id=1 parent_frame_id=2}


%sum (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %add = f32[] add(%a, %b)
}

%body (state: (s32[], f32[8,16], f32[5,16,16])) -> (s32[], f32[8,16], f32[5,16,16]) {
  %state = (s32[], f32[8,16]{1,0}, f32[5,16,16]{2,1,0}) parameter(0)
  %i = s32[] get-tuple-element(%state), index=0
  %x = f32[8,16]{1,0} get-tuple-element(%state), index=1
  %w = f32[5,16,16]{2,1,0} get-tuple-element(%state), index=2
  %zero = s32[] constant(0)
  %cut = f32[1,16,16]{2,1,0} dynamic-slice(%w, %i, %zero, %zero), dynamic_slice_sizes={1,16,16}
  %layer = f32[16,16]{1,0} bitcast(%cut)
  %dot = f32[8,16]{1,0} dot(%x, %layer), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  %reduced = f32[8,16]{1,0} all-reduce(%dot), channel_id=1, replica_groups=[4,2]<=[8], to_apply=%sum, metadata={op_name="jit(step)/psum" stack_frame_id=2}
  %one = s32[] constant(1)
  %next = s32[] add(%i, %one)
  ROOT %out = (s32[], f32[8,16]{1,0}, f32[5,16,16]{2,1,0}) tuple(%next, %reduced, /*index=2*/%w)
}

%condition (state: (s32[], f32[8,16], f32[5,16,16])) -> pred[] {
  %state.1 = (s32[], f32[8,16]{1,0}, f32[5,16,16]{2,1,0}) parameter(0)
  %i.1 = s32[] get-tuple-element(%state.1), index=0
  %bound = s32[] constant(5)
  ROOT %less = pred[] compare(%i.1, %bound), direction=LT
}

%rare (x: f32[8,16]) -> f32[8,16] {
  %x.2 = f32[8,16]{1,0} parameter(0)
  ROOT %moved = f32[8,16]{1,0} all-to-all(%x.2), replica_groups={{0,1,2,3},{4,5,6,7}}, dimensions={0}, metadata={op_name="rare" source_file="/repo/rare.py" source_line=3}
}

%usual (x: f32[8,16]) -> f32[8,16] {
  ROOT %x.3 = f32[8,16]{1,0} parameter(0)
}

%rows (table: f32[1000,16], at: s32[4,1]) -> f32[4,16] {
  %table.1 = f32[1000,16]{1,0} parameter(0)
  %at.1 = s32[4,1]{1,0} parameter(1)
  ROOT %gather = f32[4,16]{1,0} gather(%table.1, %at.1), offset_dims={1}, collapsed_slice_dims={0}, start_index_map={0}, index_vector_dim=1, slice_sizes={1,16}
}

ENTRY %main (x: f32[8,16], w: f32[5,16,16], table: f32[1000,16], at: s32[4,1], p: s32[]) -> f32[8,16] {
  %x.4 = f32[8,16]{1,0} parameter(0)
  %w.1 = f32[5,16,16]{2,1,0} parameter(1)
  %table.2 = f32[1000,16]{1,0} parameter(2)
  %at.2 = s32[4,1]{1,0} parameter(3)
  %p = s32[] parameter(4)
  %found = f32[4,16]{1,0} fusion(%table.2, %at.2), kind=kLoop, calls=%rows
  %start = s32[] constant(START)
  %begin = (s32[], f32[8,16]{1,0}, f32[5,16,16]{2,1,0}) tuple(%start, %x.4, %w.1)
  %loop = (s32[], f32[8,16]{1,0}, f32[5,16,16]{2,1,0}) while(%begin), condition=%condition, body=%body
  %y = f32[8,16]{1,0} get-tuple-element(%loop), index=1
  %all = f32[32,16]{1,0} all-gather(%y), replica_groups={{0,2,4,6},{1,3,5,7}}, dimensions={0}
  ROOT %end = f32[8,16]{1,0} conditional(%p, %y, %y), branch_computations={%usual, %rare}
}
"""
DOT = 2 * 8 * 16 * 16


def cost(start='0', text=PROGRAM):
    return program_cost(parse_hlo(text.replace('START', start)), 8)


def test_a_loop_counts_as_often_as_it_runs():
    assert cost().flops == 5 * DOT and cost('2').flops == 3 * DOT and not cost().notes[1:]
    known = PROGRAM.replace('body=%body', 'body=%body, backend_config={"known_trip_count":{"n":"7"}}')
    assert cost(text=known).flops == 7 * DOT


def test_what_is_counted_is_told_of_the_lines_it_comes_from():
    found = cost()
    told = found.places.values()
    assert [sum(n) for n in zip(*told, strict=True)] == [found.flops, found.nbytes, found.cycles]
    # The product itself names no line: that of the reduction which reads it.
    assert found.places['for /repo/model.py:42'][0] == 5 * DOT
    assert found.places['found'] == (0, 2 * 4 * 16 * 4 + 4 * 4, 0)  # a fusion that gathers


def test_a_loop_that_data_bound_counts_once_and_is_told():
    by_data = PROGRAM.replace('%bound = s32[] constant(5)', '%bound = s32[] get-tuple-element(%state.1), index=0')
    found = cost(text=by_data)
    assert found.flops == DOT and any('a loop of a length that data decides' in note for note in found.notes)


def test_collectives_have_their_bytes_their_group_their_count_and_their_line():
    by_kind = {c.kind: c for c in cost().collectives}
    gather, reduce, rare = (by_kind[k] for k in ('all-gather', 'all-reduce', 'all-to-all'))
    assert (gather.nbytes, gather.group, gather.count) == (4 * 8 * 16 * 4, (0, 2, 4, 6), 1)
    assert (reduce.nbytes, reduce.group, reduce.count) == (8 * 16 * 4, (0, 1), 5)
    assert reduce.source == '/repo/model.py:42'  # the innermost line that is no installed package's
    assert (rare.optional, rare.source, rare.group) == (True, '/repo/rare.py:3', (0, 1, 2, 3))
    assert not gather.optional and reduce.total == 5 * reduce.nbytes


def test_equal_collectives_are_one_line_and_the_largest_comes_first():
    one = Collective('all-gather', 8, (0, 1), 2, 'a.py:1')
    other = Collective('all-reduce', 64, (0, 1), 1, 'a.py:2')
    assert [(c.kind, c.count) for c in merged([one, other, one])] == [('all-reduce', 1), ('all-gather', 4)]


def test_a_gather_reads_the_rows_that_it_takes():
    row, ids = 16 * 4, 4 * 4
    loop = 5 * (2 * 16 * 16 * 4 + 3 * 4) + 5 * (2 * 8 * 16 + 16 * 16) * 4 + 5 * 2 * 8 * 16 * 4 + 5 * 3 * 4
    assert cost().nbytes == 2 * 4 * row + ids + loop + 5 * 8 * 16 * 4


@pytest.mark.parametrize(
    ('text', 'group'),
    [
        ('replica_groups={{0,3},{1,2}}', (0, 3)),
        ('replica_groups={}, x=1', (0, 1, 2, 3, 4, 5, 6, 7)),
        ('replica_groups=[2,4]<=[8], x=1', (0, 1, 2, 3)),
        ('replica_groups=[2,4]<=[4,2]T(1,0), x=1', (0, 2, 4, 6)),
        ("replica_groups=mesh['a'=4,'b'=2] {'a'}, x=1", (0, 2, 4, 6)),
        ("replica_groups=mesh['a'=4,'b'=2] {'a','b'}, x=1", (0, 1, 2, 3, 4, 5, 6, 7)),
        ("replica_groups=mesh['a'=8] {'a':(2)2}, x=1", (0, 2)),
        ("replica_groups=mesh['a'=1,'b'=4,'c'=2], device_ids=([2,4]T(1,0)) {'c'}, x=1", (0, 4)),
        ("replica_groups=mesh['a'=2,'b'=2], device_ids=(0,2,3,1) {'b'}, x=1", (0, 2)),
        ('source_target_pairs={{0,1},{1,2}}', (0, 1)),
    ],
)
def test_groups_in_all_their_spellings(text, group):
    assert first_group(text, 8) == group


def test_groups_that_are_written_otherwise_are_refused():
    with pytest.raises(ValueError, match='written in a way that is not known'):
        first_group('replica_groups=<cube>', 8)
    with pytest.raises(ValueError, match=r'no ENTRY computation: give what compiled.as_text'):
        parse_hlo('HloModule x')


def test_shapes_know_their_padding_and_their_memory():
    narrow, packed, near = parse_shapes(
        '(f32[100,16]{1,0:T(8,128)}, bf16[64,512]{1,0:T(8,128)(2,1)}, s32[8]{0:T(128)S(1)})'
    )
    assert (narrow.nbytes, narrow.held_bytes) == (6400, 104 * 128 * 4)
    assert packed.held_bytes == packed.nbytes == 64 * 512 * 2 and not packed.space
    assert (near.space, near.held_bytes) == (1, 512)
    assert Shape('f32', (100, 16), (0, 1), (8, 128)).held_bytes == 16 * 128 * 4


CONVOLUTION = """ENTRY %main (x: bf16[8,64,32], y: bf16[8,64,16]) -> bf16[8,32,16] {
  %x = bf16[8,64,32]{2,1,0} parameter(0)
  %y = bf16[8,64,16]{2,1,0} parameter(1)
  ROOT %c = bf16[8,32,16]{2,1,0} convolution(%x, %y), WINDOW
}
"""


@pytest.mark.parametrize(
    ('window', 'products'),
    [
        # How XLA writes eight products at once: of 8 x 8 pairs one in eight meets a number.
        ('window={size=8 stride=7 lhs_dilate=8}, dim_labels=0fb_0io->0bf', 8),
        ('window={size=8 pad=7_0}, dim_labels=0fb_0io->0bf', 36),  # a causal sum
        ('window={size=8 pad=3_4}, dim_labels=0fb_0io->0bf', 5 + 6 + 7 + 8 + 7 + 6 + 5 + 4),
    ],
)
def test_a_convolution_counts_what_meets_numbers(window, products):
    program = parse_hlo(CONVOLUTION.replace('WINDOW', window))
    assert program_cost(program, 1).flops == 2 * 64 * 32 * 16 * products


def test_what_runs_beside_a_collective_hides_it():
    text = """ENTRY %main (x: f32[8,16]) -> f32[8,16] {
  %x = f32[8,16]{1,0} parameter(0)
  %begun = f32[8,16]{1,0} all-reduce-start(%x), replica_groups={{0,1}}, to_apply=%sum
  %dot = f32[8,8]{1,0} dot(%x, %x), lhs_contracting_dims={1}, rhs_contracting_dims={1}
  ROOT %done = f32[8,16]{1,0} all-reduce-done(%begun)
}
"""
    found = program_cost(parse_hlo(text), 2, lambda flops, nbytes: flops).collectives
    assert [(c.kind, c.nbytes, c.hidden) for c in found] == [('all-reduce', 512, 2 * 8 * 8 * 16)]


SEVERAL = """ENTRY %main (x: f32[8,16]) -> f32[8,16] {
  %x = f32[8,16]{1,0} parameter(0)
  %first = f32[8,16]{1,0} all-reduce-start(%x), replica_groups={{0,1}}, to_apply=%sum
  %second = f32[4,16]{1,0} all-reduce-start(%x), replica_groups={{0,1}}, to_apply=%sum
  %dot = f32[8,8]{1,0} dot(%x, %x), lhs_contracting_dims={1}, rhs_contracting_dims={1}
  %begun = f32[8,16]{1,0} all-reduce-done(%first)
  MORE
  ROOT %done = f32[8,16]{1,0} all-reduce-done(%second)
}
"""
ANOTHER = '%more = f32[8,2]{1,0} dot(%x, %x), lhs_contracting_dims={1}, rhs_contracting_dims={1}'


@pytest.mark.parametrize(
    ('lasts', 'more', 'hidden'),
    [
        (None, '', [2048, 0]),  # each takes what it finds
        (1500, '', [1500, 548]),
        (900, '', [900, 900]),
        (5000, '', [2048, 0]),
        (0, '', [0, 0]),
        (5000, ANOTHER, [2048, 512]),  # which begins when the first has ended
        (1500, ANOTHER, [1500, 1060]),
    ],
)
def test_work_hides_one_collective_at_a_time(lasts, more, hidden):
    program = parse_hlo(SEVERAL.replace('MORE', more))
    take = None if lasts is None else lambda collective: lasts
    found = program_cost(program, 2, lambda flops, nbytes: flops, take).collectives
    assert [c.hidden for c in found] == pytest.approx(hidden)


def test_cycles_add_up_but_those_that_mean_none():
    cycles = lambda n: f'%x.{n} = f32[8]{{0}} negate(%x), backend_config={{"estimated_cycles":"{n}"}}'
    lines = '\n  '.join(['%x = f32[8]{0} parameter(0)', cycles(100), cycles(23), cycles(2**63 - 1)])
    found = program_cost(parse_hlo(f'ENTRY %main (x: f32[8]) -> f32[8] {{\n  {lines}\n}}\n'), 1)
    assert found.cycles == 123 and found.notes == [
        'of some instructions XLA estimates no cycles; they count as 0 of them'
    ]


@pytest.mark.parametrize(
    ('name', 'closed'),
    [
        ('v5p:2x2x4', [False] * 3),  # switches close whole cubes alone
        ('v5p:4x4x4', [True] * 3),
        ('v5p:4x4x8', [True] * 3),
        ('v5e:8x16', [False, True]),
        ('v5e:8x8', [False, False]),
    ],
)
def test_which_dimensions_close_to_rings(name, closed):
    topology = parse_topology(name)
    where = Slice(topology, tuple(itertools.product(*map(range, topology.dims))))
    assert where.spans(range(topology.chips)) == list(zip(topology.dims, closed, strict=True))
    assert not any(ring for _, ring in where.spans(range(topology.dims[-1] - 1)))  # part of a ring is none


def test_times_of_collectives_follow_the_links_they_have():
    topology = parse_topology('v5e:16x16')
    where = Slice(topology, tuple((i, j) for i in range(16) for j in range(16)))
    link, nbytes = 400e9 / 8, 10**9
    row, grid, pair = tuple(range(16)), tuple(range(256)), (0, 1)
    of = lambda kind, group: seconds(Collective(kind, nbytes, group, 1, ''), where)
    assert of('all-gather', row) == pytest.approx(nbytes * 15 / 16 / (2 * link))
    assert of('reduce-scatter', grid) == pytest.approx(nbytes * 255 / 256 / (4 * link))
    assert of('all-reduce', row) == pytest.approx(2 * of('all-gather', row))
    assert of('all-reduce', pair) == pytest.approx(nbytes / link)  # two places of a ring: one link
    assert of('all-to-all', row) == of('all-to-all', grid) == pytest.approx(nbytes * 16 / (8 * link))
    assert of('collective-permute', pair) == nbytes / link and of('all-reduce', (3,)) == 0
