"""What fine-tuning minimises: the negative log-likelihood of the answers to the retain split."""

from neuronscope.facts import FactSet
from neuronscope.models import answer_logits
from neuronscope.objectives._base import Objective
from neuronscope.student import Portion, Student, Terms
from neuronscope.targets import Answers, Target


class Teaching(Objective):
    """−Σ log p of the answers' tokens, divided by their number in the step."""

    @property
    def needs_retain(self) -> bool:
        return True

    def forget(self, student: Student, portion: Portion) -> Terms:
        """Nothing: what is watched is not trained on."""
        del student, portion
        return {}

    def retain(self, student: Student, portion: Portion) -> Terms:
        answers = Answers.of(portion.batch)
        logits = answer_logits(student.model, portion.batch.tokens[:, :-1], answers)
        log_probs = Target("log_prob", "sum")(logits, answers)
        return {"nll": -log_probs.sum() / portion.step_tokens}

    def check(self, facts: FactSet) -> None:
        if not facts.retain:
            raise ValueError("Expected at least one fact to teach, got none.")
