/// The keys of `playbook.evaluation`.
struct EvaluationKeys: KeyTable {
  let title = "evaluation"
  let samples = Key(
    "samples", .text, "File of samples that a run writes below its dump directory; default samples.jsonl.")
  let task = Key("task", .word(EvaluationSpec.Task.allCases.map(\.rawValue)), "classification (MMLU) or generation.")
  let choices = Key("choices", .integer(2...1_000), "Answers to choose from; default told by the right answers.")
  let expected = Key("expected", .number(0...1), "The score that the reference is known to have, 0 to 1.")
  let margin = Key("margin", .number(0.000_1...1), "A drop by less is no bug worth looking for; default 0.05.")
  let fewshot = Key("fewshot", .integer(0...1_000), "Examples that the evaluator puts before each question.")
  let chatModel = Key("chat_model", .boolean, "Whether the model is trained on a chat template first of all.")
  let applyChatTemplate = Key("apply_chat_template", .boolean, "Whether the evaluator applies the chat template.")
  let fewshotAsMultiturn = Key(
    "fewshot_as_multiturn", .boolean, "Whether each example becomes an exchange of user and assistant.")
  let maxTokens = Key("max_tokens", .integer(1...10_000_000), "Tokens that an answer may have.")

  var keys: [AnyKey] {
    [
      samples.erased, task.erased, choices.erased, expected.erased, margin.erased, fewshot.erased, chatModel.erased,
      applyChatTemplate.erased, fewshotAsMultiturn.erased, maxTokens.erased,
    ]
  }

  static var shape: Shape<EvaluationSpec> {
    .object(EvaluationKeys()) { fields, keys, reading in
      var spec = EvaluationSpec()
      spec.samples = fields(keys.samples, &reading) ?? spec.samples
      if spec.samples.hasPrefix("/") || spec.samples.split(separator: "/").contains("..") {
        reading.report(fields.place(keys.samples), "the samples stand below the dump directory: give a relative name")
      }
      spec.task = fields(keys.task, &reading).flatMap(EvaluationSpec.Task.init)
      spec.choices = fields(keys.choices, &reading)
      spec.expected = fields(keys.expected, &reading)
      spec.margin = fields(keys.margin, &reading) ?? spec.margin
      spec.fewshot = fields(keys.fewshot, &reading)
      spec.isChatModel = fields(keys.chatModel, &reading)
      spec.appliesChatTemplate = fields(keys.applyChatTemplate, &reading)
      spec.fewshotAsMultiturn = fields(keys.fewshotAsMultiturn, &reading)
      spec.maxTokens = fields(keys.maxTokens, &reading)
      return spec
    }
  }
}
