import ArgumentParser
import Comparison
import Coordination
import Dumps
import Foundation
import Planning
import Playbooks
import Reporting

/// `rollcall playbook triage JOB`: a served model, from the first wrong token to the part of the model.
struct PlaybookTriageCommand: AsyncParsableCommand, HasJSONOutput {
  static let configuration = CommandConfiguration(
    commandName: "triage",
    abstract: "Ask a served model what is known, search its logs, and hold both of its ends against the checkpoint.",
    discussion: """
      Reads playbook.triage of the job: url and model, and where given reference_url, prompts, logs, dumps and weights. \
      Waits until the server is healthy and asks /v1/completions at temperature 0, each prompt twice.

      The exit code: 0 no bug, 1 a bug was found, 2 no answer. With --bisect, a bug in the transformer layers is \
      bisected by the same job.

      Example: rollcall playbook triage Jobs/triage.yaml
      """)

  @Argument(help: "The job file.", completion: .file(extensions: ["yaml", "yml"]))
  var job: String

  @Flag(name: .long, help: "Go on with `bisect` where the bug is in the layers.")
  var bisect = false

  @OptionGroup var store: StoreOptions
  @OptionGroup var fleet: FleetOptions

  var wantsJSON: Bool { store.json }

  func run() async throws {
    let plan = try Planner.plan(jobFile: job)
    guard let spec = plan.playbook?.triage else {
      throw PlaybookError("The job \(plan.name) names no served model: add `playbook.triage` with `url` and `model`.")
    }
    try AntiPattern.refuse(in: plan)
    for warning in AntiPattern.warnings(in: plan) { Console.error("rollcall: warning: \(warning)") }
    let triage = Triage(try await Probe(spec: spec, directory: plan.baseDirectory).evidence())
    let id = Naming.sweep(
      job: "triage-\(plan.name)", now: Date().timeIntervalSince1970, random: .random(in: 0...UInt16.max))
    let directory = "\(store.directory)/playbooks/\(id)"
    try FileManager.default.createDirectory(atPath: directory + "/notes", withIntermediateDirectories: true)
    for note in triage.notes { try Console.write(note.text, to: "\(directory)/notes/\(note.name)") }
    let json = try triage.json(id: id, job: plan.name)
    try Console.write(json, to: directory + "/report.json")
    let text = triage.text() + "\nNotes: \(directory)/notes"
    if bisect, triage.verdict == .fail, ["prefill", "decode"].contains(triage.conclusion.kind) {
      // Standard output has one document: the bisection's.
      Console.error(text)
      return try await PlaybookRunCommand.start(PlaybookName.bisect.rawValue, job: job, store: store, fleet: fleet)
    }
    Console.print(store.json ? json : text)
    throw ExitCode(ExitPolicy.code(verdict: triage.verdict, hasFailedRuns: false))
  }
}

/// Gathers what a triage decides on.
private struct Probe {
  let spec: TriageSpec
  /// Relative paths start here.
  let directory: String

  func evidence() async throws -> TriageEvidence {
    var evidence = TriageEvidence()
    evidence.logs = logs()
    let target = CompletionsClient(spec.url)
    Console.error("waiting for \(target.base) …")
    evidence.healthProblem = try await target.waitUntilHealthy(seconds: spec.wait)
    guard evidence.healthProblem == nil else { return evidence }
    let reference = spec.referenceURL.map(CompletionsClient.init)
    let referenceProblem = try await reference?.waitUntilHealthy(seconds: spec.wait)
    for prompt in Triage.prompts + spec.prompts {
      var answer = TriageEvidence.Answer(prompt: prompt, text: nil)
      do throws(CompletionsClient.Problem) {
        let text = try await target.complete(prompt.prompt, model: spec.model, maxTokens: spec.maxTokens)
        answer.text = text
        answer.isUnstable =
          try await target.complete(prompt.prompt, model: spec.model, maxTokens: spec.maxTokens) != text
      } catch {
        answer.text = nil
        answer.problem = error.message
      }
      if let reference {
        do throws(CompletionsClient.Problem) {
          if let referenceProblem { throw CompletionsClient.Problem(message: referenceProblem) }
          answer.referenceText = try await reference.complete(
            prompt.prompt, model: spec.model, maxTokens: spec.maxTokens)
        } catch {
          answer.referenceProblem = error.message
        }
      }
      evidence.answers.append(answer)
    }
    if let dumps = spec.dumps, let weights = spec.weights {
      do throws(DumpError) {
        guard let layout = DumpLayout(rawValue: spec.layout) else {
          throw DumpError(code: .noDumps, file: spec.layout, message: "is no layout (playbook.triage.layout)")
        }
        let ends = try EndsOfModel(dumps: path(dumps), layout: layout, weights: path(weights))
        evidence.embedding = ends.embedding()
        evidence.head = ends.head()
      } catch {
        evidence.embedding = .init(.unknown, error.description)
        evidence.head = .init(.unknown, error.description)
      }
    }
    return evidence
  }

  private static let logLimit = 256 << 20

  private func logs() -> LogScan {
    var scan = LogScan()
    for log in spec.logs {
      guard let handle = FileHandle(forReadingAtPath: path(log)), let bytes = try? handle.read(upToCount: Self.logLimit)
      else {
        scan.problems.append("\(log): cannot be read")
        continue
      }
      if bytes.count == Self.logLimit { scan.problems.append("\(log): only its first 256 MiB were searched") }
      scan.scan(String(decoding: bytes, as: UTF8.self), file: log)
    }
    return scan
  }

  private func path(_ path: String) -> String { path.hasPrefix("/") ? path : "\(directory)/\(path)" }
}
