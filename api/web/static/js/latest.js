// One question under way at a time, and the latest one wins: what was asked meanwhile is asked next, and only the last of it.

//   answer(question, signal): promise of an answer
//   onAnswer(answer, question), onProblem(error, question): called for the questions that were not given up
// Gives ask(question, { urgent, once }): an urgent question ends the one under way; of one that is asked once, the same one is
// neither under way nor answered last.
export function askLatest(answer, onAnswer, onProblem) {
  let running = null;
  let newest = null; // as text: the question under way, or the one that was answered last
  let waiting = null;

  async function run(question) {
    const controller = new AbortController();
    running = controller;
    newest = JSON.stringify(question);
    try {
      const found = await answer(question, controller.signal);
      onAnswer(found, question);
    } catch (error) {
      newest = null;
      if (error.name !== "AbortError") onProblem(error, question);
    }
    running = null;
    if (waiting === null) return;
    const next = waiting;
    waiting = null;
    run(next);
  }

  return (question, { urgent = false, once = false } = {}) => {
    if (once && JSON.stringify(question) === newest) {
      waiting = null;
      return;
    }
    if (running === null) {
      run(question);
      return;
    }
    waiting = question;
    if (!urgent) return;
    newest = null; // nobody is told its answer
    running.abort();
  };
}
