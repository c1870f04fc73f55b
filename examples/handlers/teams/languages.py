"""What the cards say in each language: Portuguese and English. Another one is one more entry here."""

from collections.abc import Mapping
from dataclasses import dataclass

from worker import events


@dataclass(frozen=True, slots=True)
class Language:
    """One language: its letters (Teams takes no region), a heading per event type, labels of facts, priorities."""

    lang: str
    headings: Mapping[str, str]
    labels: Mapping[str, str]
    priorities: Mapping[str, str]
    priority: str
    open_action: str
    open_work_order: str
    full_text: str
    tasks_done: str
    photo: str

    def heading(self, event_type: str) -> str:
        """The type in words; a type not known yet says its own name."""
        return self.headings.get(event_type, event_type)


ENGLISH = Language(
    lang="en",
    headings={
        "work_order.created": "Work Order created",
        "work_order.started": "Work Order started",
        "work_order.overdue": "Work Order overdue: not started",
        "work_order.updated": "Work Order updated",
        "work_order.completed": "Work Order completed",
        "work_order.deleted": "Work Order deleted",
        "work_order.assigned": "Work Order assigned",
        "action.created": "New Action",
        "action.in_progress": "Action in progress",
        "action.solved": "Action solved",
        "action.cant_do": "Action can't be done",
    },
    labels={
        "assigned_to": "Assigned to",
        "assignees": "Assigned to",
        "by": "By",
        "code": "Code",
        "created_by": "Created by",
        "due": "Due",
        "element": "Element",
        "finished": "Finished",
        "planned_start": "Planned start",
        "resolution": "Resolution",
        "site": "Site",
        "started": "Started",
        "status": "Status",
        "tasks": "Tasks",
        "work_order": "Work Order",
    },
    priorities={"critical": "Critical", "urgent": "Urgent", "high": "High", "medium": "Medium", "low": "Low"},
    priority="{} priority",
    open_action="Open the Action",
    open_work_order="Open the Work Order",
    full_text="Full text",
    tasks_done="{done} of {all} done",
    photo="Photo",
)

PORTUGUESE = Language(
    lang="pt",
    headings={
        "work_order.created": "Ordem de Trabalho criada",
        "work_order.started": "Ordem de Trabalho iniciada",
        "work_order.overdue": "Ordem de Trabalho em atraso: por iniciar",
        "work_order.updated": "Ordem de Trabalho atualizada",
        "work_order.completed": "Ordem de Trabalho concluída",
        "work_order.deleted": "Ordem de Trabalho eliminada",
        "work_order.assigned": "Ordem de Trabalho atribuída",
        "action.created": "Nova Ação",
        "action.in_progress": "Ação em curso",
        "action.solved": "Ação resolvida",
        "action.cant_do": "Ação que não pode ser feita",
    },
    labels={
        "assigned_to": "Atribuída a",
        "assignees": "Atribuída a",
        "by": "Por",
        "code": "Código",
        "created_by": "Criada por",
        "due": "Prazo",
        "element": "Elemento",
        "finished": "Concluída",
        "planned_start": "Início previsto",
        "resolution": "Resolução",
        "site": "Local",
        "started": "Iniciada",
        "status": "Estado",
        "tasks": "Tarefas",
        "work_order": "Ordem de Trabalho",
    },
    priorities={"critical": "crítica", "urgent": "urgente", "high": "alta", "medium": "média", "low": "baixa"},
    priority="Prioridade {}",
    open_action="Abrir a Ação",
    open_work_order="Abrir a Ordem de Trabalho",
    full_text="Texto completo",
    tasks_done="{done} de {all} feitas",
    photo="Fotografia",
)

LANGUAGES: Mapping[str, Language] = {"pt": PORTUGUESE, "en": ENGLISH}

_PRIORITY_NAMES = {
    events.normalised(word): name
    for words in LANGUAGES.values()
    for name, translated in words.priorities.items()
    for word in (name, translated)
} | {"critico": "critical", "critica": "critical", "medio": "medium", "media": "medium", "normal": "medium"}


def priority_name(text: str) -> str | None:
    """`high` for `High`, `ALTA` or `alta`; None for a priority that the kit has no word for."""
    return _PRIORITY_NAMES.get(events.normalised(text)) if len(text) <= _LONGEST_PRIORITY else None


_LONGEST_PRIORITY = 40  # characters, punctuation and all
