"""The command `jaxrec`: finds the subcommand, and imports nothing of the others.

Each subcommand is a module of this package with a docstring, flags, and an absl `main`.
"""

import difflib
import importlib
import sys
from collections.abc import Sequence

# {subcommand: (module below jaxrec.cli, what it does, the extra that it needs)}
COMMANDS = {
    'demo': ('demo', 'Train two models on simulated clicks and compare them, or SMS on rendered scenes.', ''),
    'ingest': ('ingest', 'Compile CSV or Parquet files to a log.', ''),
    'train': ('train', 'Train a model on a log.', ''),
    'evaluate': ('evaluate', 'Evaluate trained models.', ''),
    'predict': ('predict', 'Score the rows of files with a trained model.', ''),
    'recommend': ('recommend', 'Generate sessions of items for users.', ''),
    'compare': ('compare', 'Train several models with several seeds and write their table.', ''),
    'export': ('export', 'Write the scorer of a trained model to one file.', ''),
    'serve': ('serve', 'Answer requests for scores over HTTP.', 'serve'),
    'plan': ('plan', 'Predict memory and speed of a config on slices of TPUs.', ''),
    'counts': ('counts', 'Count what a run on a config reads.', ''),
    'models': ('models', 'List the models.', ''),
    'onerec tokenize': ('onerec.tokenize', 'Turn items into semantic IDs.', ''),
    'onerec reward': ('onerec.reward', 'Train the reward model.', ''),
    'onerec align': ('onerec.align', 'Align a generator with preferences (Algorithm 2).', ''),
    'onerec pipeline': ('onerec.pipeline', 'Run all stages, from a log to an aligned generator.', ''),
    'age replay': ('age.replay', 'Replay a policy on a randomly logged stream.', ''),
    'age online': ('age.online', 'Run the online experiment in a simulated feed.', ''),
    'age exploration': ('age.exploration', 'Measure where a policy explores.', ''),
    'sms predict': ('sms.predict', 'Find people, things and relations in images.', ''),
    'sms show': ('sms.show', 'Draw what a network finds in a log.', ''),
    'sms challenge': ('sms.challenge', 'Compute the metric of the Person in Context challenge.', ''),
    'sms roles': ('sms.roles', 'Compute role AP on V-COCO.', ''),
    'sms check': ('sms.check', 'Check a folder of annotated images.', ''),
    'sms export': ('sms.export', 'Write a trained network to one file.', ''),
    'sms upper-bound': ('sms.upper_bound', 'Compute what an errorless network would reach.', ''),
    'sms sample': ('sms.sample', 'Write three annotated images as a folder.', ''),
    'sim load-test': ('sim.load_test', 'Measure the HTTP service under load.', 'serve'),
}
GROUPS = {name.split()[0] for name in COMMANDS if ' ' in name}
# Packages of the extras, whose absence a subcommand reports with the line that installs them.
EXTRAS = {
    'serve': ('httptools', 'starlette', 'uvicorn'),
    'tensorboard': ('tensorboardX',),
    'text': ('sklearn',),
    'plan': ('libtpu',),
}
HELP = ('-h', '--help', '-help', '--helpshort')


def main(*command: str) -> None:
    """Runs the command line of this process, behind the words of a command."""
    run([*command, *sys.argv[1:]])


def run(words: Sequence[str]) -> None:
    """Runs one subcommand, given the command line without the program's name, and exits."""
    words = list(words)
    if words[:1] == ['--version']:
        import jaxrec

        print(jaxrec.__version__)
        return
    if not words or words[0] in HELP or words == ['help']:
        print(overview())
        return
    if words[0] == 'help':
        words = [*words[1:], '--help']
    name, rest = words[0], words[1:]
    if name in GROUPS:
        if not rest or rest[0] in HELP:
            print(overview(name))
            return
        name, rest = f'{name} {rest[0]}', rest[1:]
    if name not in COMMANDS:
        _refuse(name)
    launch(name, rest)


def overview(group: str = '') -> str:
    """The list of subcommands, or of those of one group."""
    shown = {name: described for name, described in COMMANDS.items() if name.startswith(group)}
    width = max(map(len, shown))
    lines = [f'  {name:<{width}}  {what}' for name, (_, what, _) in shown.items()]
    usage = f'usage: jaxrec {group + " " if group else ""}<command> [--flag=value ...]'
    return '\n'.join([usage, '', *lines, '', '`jaxrec <command> --help` describes a command and its flags.'])


def launch(name: str, rest: Sequence[str]) -> None:
    """Imports a subcommand and runs it; a package that it lacks is named with the line that installs it."""
    module_name = f'jaxrec.cli.{COMMANDS[name][0]}'
    try:
        module = importlib.import_module(module_name)
        from absl import app

        from jaxrec.cli.flags import read_flags

        if any(word in HELP for word in rest):
            print(describe(name, module.__doc__ or '', module_name))
            return
        app.run(module.main, [f'jaxrec {name}', *rest], flags_parser=read_flags)
    except ModuleNotFoundError as error:
        extra = next((e for e, packages in EXTRAS.items() if (error.name or '').split('.')[0] in packages), None)
        if extra is None:
            raise
        print(f"error: `jaxrec {name}` needs {error.name}: pip install 'jaxrec[{extra}]'", file=sys.stderr)
        sys.exit(2)


def describe(name: str, text: str, module_name: str) -> str:
    """What a subcommand does, and its flags."""
    from absl import flags

    own = flags.FLAGS.get_key_flags_for_module(module_name)
    shared = ('jaxrec.cli.configs', 'jaxrec.cli.flags')
    modules = [module for module in shared if module in sys.modules]
    listed = {
        flag.name: flag for flag in [*own, *(f for m in modules for f in flags.FLAGS.get_key_flags_for_module(m))]
    }
    lines = [f'jaxrec {name}: {text.strip()}', '', 'flags:']
    for flag in listed.values():
        default = '' if flag.default in (None, [], False) else f' (default: {flag.default_as_str})'
        lines.append(f'  --{flag.name}: {" ".join((flag.help or "").split())}{default}')
    return '\n'.join(lines)


def _refuse(name: str) -> None:
    close = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.4)
    hint = f' Did you mean `jaxrec {close[0]}`?' if close else ''
    print(f'error: there is no command `jaxrec {name}`.{hint} `jaxrec --help` lists all.', file=sys.stderr)
    sys.exit(2)
