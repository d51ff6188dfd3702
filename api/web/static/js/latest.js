// One question under way at a time, and the latest one wins: what was asked meanwhile is asked next, and only the last of it.

//   answer(question, signal): promise of an answer
//   onAnswer(answer, question), onProblem(error, question): called for the questions that were not given up
// Gives ask(question, { urgent }): an urgent question ends the one under way.
export function askLatest(answer, onAnswer, onProblem) {
  let running = null;
  let waiting = null;

  async function run(question) {
    const controller = new AbortController();
    running = controller;
    try {
      const found = await answer(question, controller.signal);
      onAnswer(found, question);
    } catch (error) {
      if (error.name !== "AbortError") onProblem(error, question);
    }
    running = null;
    if (waiting === null) return;
    const next = waiting;
    waiting = null;
    run(next);
  }

  return (question, { urgent = false } = {}) => {
    if (running === null) {
      run(question);
      return;
    }
    waiting = question;
    if (urgent) running.abort();
  };
}
