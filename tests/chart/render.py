"""Renders the chart with Helm and judges it, for tests/chart/mod.rs.

Reads a JSON object of values on standard input; prints what Helm's linter says, and each manifest
with what the schemas of Kubernetes say of it.
"""

import json
import sys

import kubernetes_validate
import yaml
from helm_python.chart import Chart, lint

CHART, KUBERNETES = sys.argv[1:]


def judged(manifest):
    try:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    except kubernetes_validate.SchemaNotFoundError:
        return "no schema"
    except Exception as error:  # Whatever is wrong is for the test to show.
        return str(error).splitlines()[0]
    return "valid"


def main():
    values = json.load(sys.stdin)
    result = {}
    try:
        result["lint"] = str(lint(CHART, values=values))
        with Chart.load(CHART) as chart:
            rendered = chart.render(values=values, name="igw", namespace="edge")
            files = rendered if isinstance(rendered, dict) else {"": rendered}
            result["files"] = {name: str(text) for name, text in files.items()}
    except Exception as error:
        result["error"] = f"{type(error).__name__}: {error}"
    manifests = []
    for name, text in sorted(result.get("files", {}).items()):
        if name.endswith(".txt") or name.endswith(".tpl"):
            continue
        for manifest in yaml.safe_load_all(text):
            if manifest:
                manifests.append({"manifest": manifest, "judged": judged(manifest)})
    result["manifests"] = manifests
    json.dump(result, sys.stdout)


main()
