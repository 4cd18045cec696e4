#!/usr/bin/env python3
"""What is linked into the program, and under which licences: .ci/sbom.py FOLDER

Writes osvc-igw.cdx.json (CycloneDX 1.6) and LICENCES.txt into the folder, from what cargo says of
Cargo.lock. Fails where a licence is not one that .deny.toml allows. Needs no package but Python 3.11.
"""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = "x86_64-unknown-linux-gnu"


def metadata():
    command = ["cargo", "metadata", "--format-version", "1", "--locked"]
    command += ["--filter-platform", TARGET]
    offline = subprocess.run([*command, "--offline"], cwd=ROOT, capture_output=True)
    if offline.returncode == 0:
        return json.loads(offline.stdout)
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)


def linked(data):
    """The packages that are linked, by id, each with those that it needs itself."""
    nodes = {node["id"]: node for node in data["resolve"]["nodes"]}
    found, todo = {}, [data["resolve"]["root"]]
    while todo:
        package = todo.pop()
        if package in found:
            continue
        needs = [
            dependency["pkg"]
            for dependency in nodes[package]["deps"]
            if any(kind["kind"] is None for kind in dependency["dep_kinds"])
        ]
        found[package] = sorted(needs)
        todo += needs
    return found


def allowed(expression, licences):
    """Whether a licence expression (SPDX) can be met by these."""
    words = re.findall(r"[()]|[^\s()/]+|/", expression)

    def term():
        # "Or later" is met by the version itself.
        word = words.pop(0).removesuffix("+")
        if word == "(":
            value = either()
            words.pop(0)
            return value
        if words[:1] == ["WITH"]:
            exception = [words.pop(0), words.pop(0)][1]
            # An exception takes nothing away.
            return word in licences or f"{word} WITH {exception}" in licences
        return word in licences

    def both():
        value = term()
        while words[:1] == ["AND"]:
            words.pop(0)
            value = term() and value
        return value

    def either():
        value = both()
        while words[:1] in (["OR"], ["/"]):
            words.pop(0)
            value = both() or value
        return value

    return either()


def purl(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package, checksum):
    kind = "application" if package["source"] is None else "library"
    result = {
        "type": kind,
        "bom-ref": purl(package),
        "name": package["name"],
        "version": package["version"],
        "purl": purl(package),
        "licenses": [{"expression": package["license"].replace("/", " OR ")}],
        "scope": "required",
    }
    if package.get("description"):
        result["description"] = " ".join(package["description"].split())
    if checksum:
        result["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package.get("repository"):
        result["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return result


def texts(package):
    """The texts of licences and notices that a package brings along."""
    folder = Path(package["manifest_path"]).parent
    names = re.compile(r"(licen[sc]e|copying|copyright|notice)", re.IGNORECASE)
    files = sorted(it for it in folder.iterdir() if it.is_file() and names.match(it.name))
    return [(it.name, it.read_text(encoding="utf-8", errors="replace").strip()) for it in files]


def report(packages):
    parts = ["What is linked into osvc-igw beside its own code, and under which licence.\n"]
    for package in packages:
        parts.append(f"{package['name']} {package['version']}: {package['license']}")
    seen = {}
    for package in packages:
        for name, text in texts(package):
            seen.setdefault(text, []).append(f"{package['name']} {package['version']} ({name})")
    for text, places in seen.items():
        parts.append("\n" + "=" * 80 + "\n" + "\n".join(places) + "\n" + "-" * 80 + "\n" + text)
    return "\n".join(parts) + "\n"


def main():
    folder = Path(sys.argv[1])
    data = metadata()
    known = {package["id"]: package for package in data["packages"]}
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    sums = {(it["name"], it["version"]): it.get("checksum") for it in lock["package"]}
    policy = tomllib.loads((ROOT / ".deny.toml").read_text())["licenses"]
    more = {it["crate"]: it["allow"] for it in policy["exceptions"]}
    graph = linked(data)
    packages = sorted((known[it] for it in graph), key=lambda it: (it["name"], it["version"]))
    bad = [it for it in packages if not it["license"]
           or not allowed(it["license"], {*policy["allow"], *more.get(it["name"], [])})]
    for package in bad:
        name = f"{package['name']} {package['version']}"
        print(f"{name}: .deny.toml does not allow {package['license']}", file=sys.stderr)
    if bad:
        return 1
    root = data["resolve"]["root"]
    described = {it["id"]: component(it, sums.get((it["name"], it["version"]))) for it in packages}
    own = described.pop(root)
    del own["scope"]
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": own},
        "components": list(described.values()),
        "dependencies": [
            {"ref": purl(known[package]), "dependsOn": sorted(purl(known[it]) for it in needs)}
            for package, needs in sorted(graph.items(), key=lambda it: purl(known[it[0]]))
        ],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "osvc-igw.cdx.json").write_text(json.dumps(document, indent=1) + "\n")
    others = [it for it in packages if it["id"] != root]
    (folder / "LICENCES.txt").write_text(report(others))
    print(f"{len(others)} packages")
    return 0


sys.exit(main())
