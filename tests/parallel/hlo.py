"""What a compiled program sends between devices."""


def results_of(collective, hlo):
    """The types that every use of a collective results in, as HLO writes them."""
    return [
        line.split(' = ')[1].split(f' {collective}')[0]
        for line in hlo.splitlines()
        if f' {collective}' in line and ' = ' in line
    ]
