/// The keys of `playbook.triage`.
struct TriageKeys: KeyTable {
  let title = "triage"
  let url = Key("url", .text, required: true, "Where the model is served: http://host:port.")
  let model = Key("model", .text, required: true, "The model's name at the server.")
  let referenceURL = Key("reference_url", .text, "A build that is known to be right, serving the same model.")
  let prompts = Key(
    "prompts", .list(of: TriagePromptKeys.shape), "Prompts with known answers, beside the method's four.")
  let logs = Key("logs", .list(of: .text, orOne: true), "Logs of the server: searched for fallbacks and failed builds.")
  let wait = Key("wait", .duration, "How long the server may take to be healthy; default 10m.")
  let maxTokens = Key("max_tokens", .integer(1...4_096), "Tokens of each answer; default 30.")
  let dumps = Key("dumps", .text, "Directory with dumps of the embedding and of the head.")
  let layout = Key("layout", .text, "The dumps' layout; default atom.")
  let weights = Key("weights", .text, "The checkpoint: a safetensors file, or a directory of them.")

  var keys: [AnyKey] {
    [
      url.erased, model.erased, referenceURL.erased, prompts.erased, logs.erased, wait.erased, maxTokens.erased,
      dumps.erased, layout.erased, weights.erased,
    ]
  }

  static var shape: Shape<TriageSpec> {
    .object(TriageKeys()) { fields, keys, reading in
      let url = fields(keys.url, &reading)
      let model = fields(keys.model, &reading)
      let referenceURL = fields(keys.referenceURL, &reading)
      for (text, key) in [(url, keys.url), (referenceURL, keys.referenceURL)] {
        if let text, text.wholeMatch(of: /https?:\/\/[^\s\/]+(\/[^\s]*)?/) == nil {
          reading.report(fields.place(key), "expected http://host:port, found \"\(text.shortened)\"")
        }
      }
      var spec = TriageSpec(url: url ?? "", model: model ?? "", referenceURL: referenceURL)
      spec.prompts = fields(keys.prompts, &reading) ?? []
      spec.logs = fields(keys.logs, &reading) ?? []
      spec.wait = fields(keys.wait, &reading) ?? spec.wait
      spec.maxTokens = fields(keys.maxTokens, &reading) ?? spec.maxTokens
      spec.dumps = fields(keys.dumps, &reading)
      spec.layout = fields(keys.layout, &reading) ?? spec.layout
      spec.weights = fields(keys.weights, &reading)
      if (spec.dumps == nil) != (spec.weights == nil) {
        reading.report(fields.value.place, "`dumps` and `weights` go together: one is held against the other")
      }
      return url == nil || model == nil ? nil : spec
    }
  }
}

/// The keys of one prompt.
struct TriagePromptKeys: KeyTable {
  let title = "prompt"
  let prompt = Key("prompt", .text, required: true, "What is asked.")
  let expected = Key(
    "expected", .list(of: .text, orOne: true), "One of these stands in the answer; default any text that is no garbage."
  )

  var keys: [AnyKey] { [prompt.erased, expected.erased] }

  static var shape: Shape<TriageSpec.Prompt> {
    .object(TriagePromptKeys()) { fields, keys, reading in
      let prompt = fields(keys.prompt, &reading)
      let expected = fields(keys.expected, &reading) ?? []
      return prompt.map { TriageSpec.Prompt($0, expected: expected, isFirst: false) }
    }
  }
}
