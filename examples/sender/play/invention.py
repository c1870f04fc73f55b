"""Invented sites, people, Work Orders, tasks and Actions for the stories, in the form of the samples."""

from datetime import datetime, timedelta
from random import Random
from typing import Any

_PEOPLE = (
    ("usr_ana", "Ana Conceição"), ("usr_joao", "João Simões"), ("usr_ines", "Inês Araújo"), ("usr_lucia", "Lucía Peña"),
    ("usr_yusuf", "يوسف الحداد"), ("usr_aiko", "佐藤 愛子"), ("usr_zoe", "Zoë Müller"), ("usr_bjorn", "Bjørn Ås"),
)  # fmt: skip
_SITES = ("Fábrica de Setúbal", "Planta de Getafe", "Werk Gießen", "مصنع طنجة", "川崎工場", "Ålesund kai")
_JOBS = (
    ("Inspeção mensal do compressor", "Compressor", "ar comprimido"),
    ("Lubrificação da linha de enchimento", "Linha de enchimento", "lubrificação"),
    ("Revisión de la carretilla elevadora", "Carretilla", "seguridad"),
    ("Sichtprüfung der Pumpe", "Pumpe", "Wartung"),
    ("فحص طفايات الحريق 🧯", "طفاية", "سلامة"),
)


def person(rng: Random, except_for: dict[str, Any] | None = None) -> dict[str, Any]:
    """A person other than `except_for`."""
    others = [one for one in _PEOPLE if not except_for or one[0] != except_for["id"]]
    person_id, name = rng.choice(others)
    return {"id": person_id, "name": name}


def work_order(rng: Random, site: int, number: int, created_at: datetime, creator: dict[str, Any]) -> dict[str, Any]:
    """A planned Work Order: pending, without assignee, to be started some hours later."""
    name, element, label = rng.choice(_JOBS)
    code = rng.randrange(1, 40)
    start = created_at + timedelta(hours=rng.randrange(2, 12))
    return {
        "id": f"wo_{rng.getrandbits(40):010x}",
        "code": f"WO-{created_at.year}-{site + 1:02}{number + 1:04}",
        "name": f"{name} {element[0]}-{code}",
        "template": f"{name} v{rng.randrange(1, 6)}",
        "folder": "Manutenção preventiva",
        "status": "Pending",
        "site": {"id": f"site_{site + 1}", "name": _SITES[site % len(_SITES)]},
        "element": {"id": f"el_{site + 1}_{code}", "name": f"{element} {element[0]}-{code}"},
        "assignees": [],
        "labels": ["preventiva", label],
        "planned_start": text(start),
        "due_date": text(start + timedelta(hours=9)),
        "allow_submission_after_due_date": rng.choice((True, False)),
        "created_by": creator,
        "created_at": text(created_at),
        "started_at": None,
        "finished_at": None,
        "tasks": [_task(step, rng) for step in range(1, rng.randrange(2, 6))],
    }


def action(
    rng: Random, order: dict[str, Any], task: dict[str, Any], by: dict[str, Any], at: datetime
) -> dict[str, Any]:
    """An Action raised by a person who answered a task."""
    return {
        "id": f"act_{rng.getrandbits(40):010x}",
        "code": f"A-{at.year}-{rng.randrange(1, 10000):04}",
        "title": f"{task['title']}: {order['element']['name']}",
        "description": task["response"]["comment"],
        "status": "Open",
        "priority": rng.choice(("Low", "Medium", "High")),
        "site": order["site"],
        "element": order["element"],
        "assigned_to": {"type": "user", **person(rng)},
        "created_by": by,
        "created_at": text(at),
        "due_date": text(at + timedelta(days=2)),
        "finish_date": None,
        "last_update": text(at),
        "labels": order["labels"],
        "attachments": [],
        "work_order": {name: order[name] for name in ("id", "code", "name")},
        "task": {"id": task["id"], "title": task["title"]},
    }


def _task(step: int, rng: Random) -> dict[str, Any]:
    title, kind = rng.choice((
        ("Verificar nível do óleo", "choice"), ("Pressão de descarga", "number"), ("Temperatura", "number"),
        ("Fotografia do filtro", "photo"), ("Estado de la correa", "choice"), ("ملاحظات", "text"),
    ))  # fmt: skip
    return {"id": f"t_{step}", "title": title, "type": kind, "status": "Pending", "response": None}


def response(kind: str, rng: Random, *, good: bool) -> dict[str, Any]:
    """The answer to a task; a bad one has a comment."""
    comment = None if good else "Fora do normal — ver com urgência ⚠️"
    values: dict[str, dict[str, Any]] = {
        "number": {"value": round(rng.uniform(5, 9), 1), "unit": "bar"},
        "photo": {"value": "photo.jpg"},
        "text": {"value": "تم الفحص"},
    }
    value = values.get(kind, {"value": "Conforme" if good else "Não conforme"})
    return {**value, "comment": comment}


def text(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
