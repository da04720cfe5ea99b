import OrderedCollections
public import Planning

/// Something that the methods say not to do, found in a job.
public struct AntiPattern: Sendable, Hashable, CustomStringConvertible {
  public enum Rule: String, Sendable, Hashable, CaseIterable {
    case zeroShotDiagnosis = "zero-shot-diagnosis"
    case torchrunForAutoDeploy = "torchrun-for-autodeploy"
    case overriddenModelsRoot = "overridden-models-root"
    case loweredThreshold = "lowered-threshold"
    case chatAPI = "chat-api-for-triage"
    case twoChanges = "two-changes-at-once"
    case oneShot = "one-shot-for-batch-invariance"
    case cosineAlone = "cosine-without-rel"
    case templateOnFewShot = "chat-template-on-joined-examples"
    case missingTemplate = "chat-model-without-template"
    case uncappedClassification = "uncapped-classification"
    case shortGeneration = "short-generation"
    case rebuiltContainer = "rebuilt-container"
    case uncheckedWeights = "unchecked-weights"
    case unverifiedReference = "unverified-reference"
    case manyLayers = "many-layers-at-once"
    case onePrompt = "one-prompt"

    /// No run of such a job can be interpreted.
    public var isRefused: Bool {
      switch self {
      case .zeroShotDiagnosis, .torchrunForAutoDeploy, .chatAPI, .oneShot: true
      default: false
      }
    }

    /// What the method says.
    public var advice: String {
      switch self {
      case .zeroShotDiagnosis:
        "a k-shot evaluator is not diagnosed with 0-shot prompts: meta-text would be the prompt's fault"
      case .torchrunForAutoDeploy:
        "AutoDeploy starts its ranks itself; a launcher around it initialises twice and deadlocks"
      case .overriddenModelsRoot:
        "LLM_MODELS_ROOT is set by the host where it is needed; overriding it breaks the data sets' paths"
      case .loweredThreshold: "a lower reference score is no fix: validate it on the reference backend"
      case .chatAPI: "the chat API applies templates and hides the fault: use /v1/completions"
      case .twoChanges: "one change a run, or nobody can tell which one it was"
      case .oneShot: "a one-shot dump holds the warm-up, and the first sequence of a loop alone"
      case .cosineAlone: "a cosine of 0.997 may be 11 % off: judge the relative difference too (rel)"
      case .templateOnFewShot:
        "the template over joined examples makes one malformed turn, down to a score of 0: fewshot_as_multiturn"
      case .missingTemplate: "a model made for chat scores low without its template: apply_chat_template"
      case .uncappedClassification: "a classification needs few tokens (2 for MMLU), or the model starts to reason"
      case .shortGeneration: "a chain of reasoning is cut off before the answer: raise max_tokens (512 for GSM8K)"
      case .rebuiltContainer: "patch in place and test; a rebuilt container changes more than the one thing"
      case .uncheckedWeights:
        "weights come before any bisection of the forward pass, a wrong loader shows as any bug: rollcall playbook weights"
      case .unverifiedReference:
        "a reference that nobody verified may be wrong, too: give its known score, and see rollcall playbook harness"
      case .manyLayers: "many layers in one dump fill the disk and tangle the comparison: a few at a time find the same"
      case .onePrompt: "a fix that was tried on one prompt may leave other bugs: run a batch, and several prompts"
      }
    }
  }

  public var rule: Rule
  /// `run.command of world_size=2`, `playbook.evaluation.max_tokens`
  public var place: String
  /// What stands there.
  public var message: String

  public init(rule: Rule, place: String, message: String) {
    self.rule = rule
    self.place = place
    self.message = message
  }

  public var description: String { "[\(rule.rawValue)] \(place): \(message). \(rule.advice)." }

  /// All that a job shows, each rule once a place.
  public static func found(in plan: Plan) -> [AntiPattern] {
    Search(plan: plan).found
  }

  /// Of a bisection in a store that has seen no weights.
  public static func uncheckedWeights(_ name: PlaybookName) -> AntiPattern? {
    guard [.bisect, .triageBisect].contains(name) else { return nil }
    return AntiPattern(
      rule: .uncheckedWeights, place: name.rawValue, message: "no `weights` playbook of this store ended with PASS")
  }

  public static func warnings(in plan: Plan) -> [AntiPattern] { found(in: plan).filter { !$0.rule.isRefused } }

  /// - Throws: `PlaybookError` with every refused one.
  public static func refuse(in plan: Plan) throws(PlaybookError) {
    let refused = found(in: plan).filter(\.rule.isRefused)
    guard refused.isEmpty else {
      throw PlaybookError("The job \(plan.name) is refused: " + refused.map(\.description).joined(separator: " "))
    }
  }
}

private struct Search {
  let plan: Plan

  var found: [AntiPattern] {
    var seen: Set<AntiPattern> = []
    return (runs + comparison + evaluation + components + triage + dumps).filter { seen.insert($0).inserted }
  }

  private func hit(_ rule: AntiPattern.Rule, _ place: String, _ message: String) -> AntiPattern {
    AntiPattern(rule: rule, place: place, message: message)
  }

  /// Commands and variables; cells that show the same are named once.
  private var runs: [AntiPattern] {
    var hits: [AntiPattern] = []
    for cell in plan.cells {
      let command = cell.run.command
      let words = ([command] + cell.run.env.map { "\($0.key)=\($0.value)" } + cell.run.files).joined(separator: " ")
      if command.contains(/\b(torchrun|torch\.distributed\.(run|launch)|mpirun|mpiexec)\b/),
        words.contains(/(?i)auto_?deploy/)
      {
        hits.append(hit(.torchrunForAutoDeploy, "run.command", "AutoDeploy under a launcher"))
      }
      if cell.run.env["LLM_MODELS_ROOT"] != nil || command.contains(/(^|[\s;&])(unset\s+)?LLM_MODELS_ROOT(=|\s|$)/) {
        hits.append(
          hit(
            .overriddenModelsRoot, cell.run.env["LLM_MODELS_ROOT"] == nil ? "run.command" : "run.env",
            "LLM_MODELS_ROOT is overridden"))
      }
      if command.contains(/\b(docker|podman)\s+(compose\s+)?build\b/) {
        hits.append(hit(.rebuiltContainer, "run.command", "a container is built in each run"))
      }
      if let count = plan.playbook?.evaluation?.fewshot, count > 0,
        words.contains(/(?i)(num[_-]?fewshot|few[_-]?shot|n[_-]?shots?)["']?[ =:]\s*["']?0+(\s|$|["',;])/)
      {
        hits.append(hit(.zeroShotDiagnosis, "run", "0-shot prompts, and playbook.evaluation.fewshot is \(count)"))
      }
      if plan.playbook?.triage != nil, command.contains("/v1/chat/completions") {
        hits.append(hit(.chatAPI, "run.command", "it asks /v1/chat/completions"))
      }
      if plan.compare.mode == .slots, cell.dumps?.layout == "atom", cell.dumps?.select != .warmUp,
        !["0", "false", "no", "off"].contains((cell.run.env["ATOM_FWD_DUMP_ONE_SHOT"] ?? "1").lowercased())
      {
        hits.append(
          hit(.oneShot, "run.env", "ATOM_FWD_DUMP_ONE_SHOT is on, which is ATOM's default, and slots are compared"))
      }
    }
    return hits
  }

  private var comparison: [AntiPattern] {
    guard case .thresholds(let cos?, nil) = plan.compare.noise else { return [] }
    return [hit(.cosineAlone, "compare.noise", "cos \(cos) without rel")]
  }

  private var evaluation: [AntiPattern] {
    guard let spec = plan.playbook?.evaluation else { return [] }
    let place = "playbook.evaluation"
    var hits: [AntiPattern] = []
    let fewshot = spec.fewshot ?? 0
    if spec.appliesChatTemplate == true, fewshot > 0, spec.fewshotAsMultiturn != true {
      hits.append(hit(.templateOnFewShot, place, "apply_chat_template with \(fewshot) examples in one turn"))
    }
    if spec.isChatModel == true, spec.appliesChatTemplate != true {
      hits.append(hit(.missingTemplate, place, "chat_model without apply_chat_template"))
    }
    if spec.task == .classification, spec.maxTokens.map({ $0 > 16 }) ?? true {
      hits.append(
        hit(.uncappedClassification, place, spec.maxTokens.map { "max_tokens is \($0)" } ?? "max_tokens is not given"))
    }
    if spec.task == .generation, let limit = spec.maxTokens, limit < 256 {
      hits.append(hit(.shortGeneration, place, "max_tokens is \(limit)"))
    }
    if spec.expected == nil {
      hits.append(hit(.unverifiedReference, "\(place).expected", "it does not say what the reference should score"))
    }
    if let reference = plan.cells.first(where: { plan.referenceCell(for: $0)?.id == $0.id }) {
      for cell in plan.cells where plan.referenceCell(for: cell)?.id == reference.id && cell.id != reference.id {
        let axes = plan.axes.filter { cell.values[$0] != reference.values[$0] }
        if axes.count > 1 {
          hits.append(
            hit(.twoChanges, "compare.reference", "target and reference differ in \(axes.joined(separator: ", "))"))
        }
      }
    }
    return hits
  }

  /// What one of `ablate` or `necessity` switches is one change.
  private var components: [AntiPattern] {
    guard let playbook = plan.playbook else { return [] }
    return [("ablate", playbook.ablate), ("necessity", playbook.necessity)].flatMap { key, names in
      (names ?? []).compactMap { name -> AntiPattern? in
        guard let component = playbook.components[name] else { return nil }
        let most =
          [component.on, component.off].map { change in
            change.env.count + change.overlays.count + (change.arguments.isEmpty ? 0 : 1)
          }.max() ?? 0
        guard most > 1 else { return nil }
        return hit(.twoChanges, "playbook.components.\(name)", "\(key) switches \(most) things at once")
      }
    }
  }

  private var dumps: [AntiPattern] {
    var hits: [AntiPattern] = []
    if let width = plan.playbook?.bisect.width, width > Self.fewLayers {
      hits.append(hit(.manyLayers, "playbook.bisect.width", "a run dumps \(width) layers"))
    }
    if plan.playbook?.necessity != nil, plan.cells.contains(where: { $0.dumps?.slots == 1 }) {
      hits.append(hit(.onePrompt, "dumps.slots", "the fixes are judged by one sequence"))
    }
    return hits
  }

  private static let fewLayers = 16

  private var triage: [AntiPattern] {
    guard let spec = plan.playbook?.triage else { return [] }
    return [spec.url, spec.referenceURL ?? ""].filter { $0.contains("/chat") }.map {
      hit(.chatAPI, "playbook.triage", "\($0) is the chat API")
    }
  }
}
