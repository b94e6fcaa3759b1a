"""`silo init`: the first run, from a setup link."""

import getpass
from pathlib import Path

import click

from silo.cli import screen
from silo.cli.common import FILE, home, json_option, now, passphrase_from, run
from silo.client.home import Profile, default_passphrase_file, read_secret_line
from silo.client.setup import (
    Plan,
    SetupLink,
    check_name,
    check_new_file,
    load_admin_key,
    meet,
    parse_link,
    resume,
    set_up,
)
from silo.crypto.encoding import b32, hash_bytes
from silo.crypto.keys import fingerprint, spoken
from silo.errors import SiloError

WORDS = 6
"""Of 7,776: 77 bits."""
FLOOR = 3
"""zxcvbn's score of a chosen password, at least: safe against a guess at ten thousand a second, offline."""


@click.command()
@click.argument("link")
@click.option("--name", help="What the silo calls you.")
@click.option("--password-file", type=FILE, help="File with your password in its first line.")
@click.option("--admin-key", "key_path", type=FILE, help="Where to write the admin key [./admin.key].")
@click.option("--use-admin-key", is_flag=True, help="Take the admin key that is in that file already.")
@click.option("--admin-passphrase-file", type=FILE, help="File with a passphrase that locks the admin key's file.")
@click.option("--passphrase-file", type=FILE, help="File with a passphrase that locks this device's keys.")
@click.option("--yes", is_flag=True, help="Ask for no confirmation.")
@json_option("Print one JSON object when it is done.")
def init(
    link: str,
    name: str | None,
    password_file: Path | None,
    key_path: Path | None,
    use_admin_key: bool,
    admin_passphrase_file: Path | None,
    passphrase_file: Path | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Set a new silo up from its setup LINK.

    Makes the admin key, your account and this device. Asks for what no option gives. The link works once;
    quote it, for the shell would read its #.

    \b
    Examples:
      silo init 'http://localhost:6006/#setup.…'
      silo init "$LINK" --name alice --password-file pw --admin-key admin.key --yes
    """
    read = parse_link(link)
    here = home()
    locks = passphrase_file or default_passphrase_file()
    begun = run(resume(here, passphrase_from(locks, "passphrase of this device"), now, screen.warn))
    if begun is not None:
        screen.talk("the setup that was begun here had reached the silo; it is finished now")
        _done(begun, None, as_json)
        return
    _check_flags(name, password_file, key_path, use_admin_key, yes)
    mark = fingerprint(run(meet(read, now, screen.warn)))
    _compare(read, mark, yes)
    chosen_name, password = _name(name), _password(password_file)
    path, use = _key_path(key_path, use_admin_key, yes)
    plan = Plan(
        name=chosen_name,
        password=password,
        key_path=path,
        use_key=use,
        key_passphrase=_key_passphrase(path, use, admin_passphrase_file),
        passphrase=read_secret_line(locks) if locks else None,
    )
    if not yes:
        _waive(plan)
    profile = run(set_up(here, read, plan, now, screen.warn))
    _done(profile, plan.key_path, as_json)


def _check_flags(name: str | None, password_file: Path | None, key_path: Path | None, use: bool, yes: bool) -> None:
    """What is typed is found wrong before the silo is asked, and before the person is."""
    for flag, given in (("--yes", yes), ("--name", name), ("--password-file", password_file)):
        if not given:
            _need(flag)
    if name is not None:
        check_name(name)
    if password_file is not None:
        check_password(read_secret_line(password_file))
    # Where somebody is there, a file that exists is asked about later.
    asked_later = _asks(yes) and (key_path is None or key_path.is_file())
    if not use and not asked_later:
        check_new_file(key_path or Path("admin.key"))


def _need(flag: str) -> None:
    if not screen.can_ask():
        raise click.UsageError(f"{flag} is missing, and there is no terminal to ask at", click.get_current_context())


def _compare(link: SetupLink, mark: bytes, yes: bool) -> None:
    screen.talk(f"{link.url} answers as the silo with the fingerprint")
    screen.talk()
    screen.talk(f"    {spoken(mark)}", style="bold")
    screen.talk()
    if yes:
        return
    _need("--yes")
    if not screen.confirm("Does the silo's own terminal show the same?"):
        raise SiloError("other_fingerprint")


def _name(given: str | None) -> str:
    if given is None:
        _need("--name")
        given = screen.ask("Your name", getpass.getuser())
    check_name(given)
    return given


def _password(file: Path | None) -> str:
    if file is not None:
        password = read_secret_line(file)
        check_password(password)
        return password
    _need("--password-file")
    suggested = suggest()
    screen.talk()
    screen.talk("A password opens your history on another device. One that nobody guesses:")
    screen.talk()
    screen.talk(f"    {suggested}", style="bold")
    screen.talk()
    screen.talk("Write it down and type it here, or type one of your own.")
    while True:
        password = screen.ask_secret("Password")
        if password == suggested:
            return password
        try:
            check_password(password)
        except SiloError as error:
            screen.fail(error)
            continue
        if screen.ask_secret("The same again") == password:
            return password
        screen.misuse("the two are not the same")


def suggest() -> str:
    """A passphrase of six words from the EFF's long list."""
    from xkcdpass import xkcd_password

    words = xkcd_password.generate_wordlist(xkcd_password.locate_wordfile("eff-long"))
    return str(xkcd_password.generate_xkcdpassword(words, numwords=WORDS))


def check_password(password: str) -> None:
    """Raises SiloError `weak_password` below the floor."""
    from zxcvbn import zxcvbn

    # More than 72 characters it refuses, and needs none of them to tell.
    judged = zxcvbn(password[:72]) if password else None
    if judged is None or judged["score"] < FLOOR:
        why = judged["feedback"]["warning"].strip(" .") if judged else "it is empty"
        raise SiloError("weak_password", why[:1].lower() + why[1:])


def _asks(yes: bool) -> bool:
    return screen.can_ask() and not yes


def _key_path(given: Path | None, use: bool, yes: bool) -> tuple[Path, bool]:
    """Where the admin key goes, or the file that it is in already (True)."""
    if not _asks(yes):
        path = given or Path("admin.key")
        if not use:
            check_new_file(path)
        return path, use
    while True:
        path = given or Path(screen.ask("Where to write the admin key", "admin.key")).expanduser()
        if use or (path.is_file() and screen.confirm(f"{path} exists already. Take the admin key in it?")):
            return path, True
        try:
            check_new_file(path)
        except SiloError as error:
            if given is not None:
                raise
            screen.fail(error)
            continue
        return path, False


def _key_passphrase(path: Path, use: bool, file: Path | None) -> str | None:
    found = read_secret_line(file) if file else None
    if use:
        get = passphrase_from(file, f"passphrase of {path}")

        def ask() -> str:
            nonlocal found
            found = get()
            return found

        load_admin_key(path, ask)
    return found


def _waive(plan: Plan) -> None:
    _need("--yes")
    screen.talk()
    where = "is in" if plan.use_key else "goes into"
    screen.talk(f"The admin key {where} {plan.key_path}. There is no backup key yet:")
    screen.talk("if you lose this file, nobody can open the vault.", style="bold")
    if not screen.confirm("Go on?"):
        raise click.Abort


def _done(profile: Profile, key_path: Path | None, as_json: bool) -> None:
    mark = fingerprint(hash_bytes(profile.identity))
    if as_json:
        screen.answer_json(
            {
                "url": profile.url,
                "silo": profile.silo,
                "fingerprint": b32(mark),
                "genesis": profile.genesis,
                "user": profile.user,
                "name": profile.name,
                "device": profile.device,
                "admin_key": str(key_path) if key_path else None,
                "secrets": profile.secrets,
            }
        )
    screen.talk()
    screen.talk("The silo is set up, and this device belongs to it.")
    if key_path:
        screen.talk(f"Keep {key_path} offline, and a copy elsewhere: it opens everything in the silo.")
    screen.talk(f'Try: {screen.program} "Three names for a pelican"')
