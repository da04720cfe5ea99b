public import ArgumentParser
import Foundation
public import Planning
import Playbooks
import Reporting

/// `rollcall playbook evaluate`: over a job as the other playbooks, or over two files of samples that are there already.
struct PlaybookEvaluateCommand: AsyncParsableCommand, HasJSONOutput {
  static let configuration = CommandConfiguration(
    commandName: "evaluate",
    abstract: "Compare the samples of an evaluation: is the gap more than noise, where, and what went wrong?",
    discussion: """
      Samples are JSON objects, one a line: {"id", "category", "prompt", "reference", "output", "correct"}, \
      "finish_reason" where there is one. With a job, its runs write them; with two files nothing is run.

      The exit code: 0 a drop by the margin is ruled out, 1 the target is worse beyond noise, 2 no answer.

      Example: rollcall playbook evaluate --reference pytorch.jsonl --target autodeploy.jsonl
      Example: rollcall playbook evaluate Jobs/evaluate.yaml
      """)

  @Argument(help: "The job file.", completion: .file(extensions: ["yaml", "yml"]))
  var job: String?

  @Option(name: .long, help: "Samples of the side that is trusted.", completion: .file(extensions: ["jsonl"]))
  var reference: String?

  @Option(name: .long, help: "Samples of the side under suspicion.", completion: .file(extensions: ["jsonl"]))
  var target: String?

  @Option(name: .long, help: "Answers to choose from (default: told by the right answers).")
  var choices: Int?

  @Option(name: .long, help: "classification or generation.")
  var task: EvaluationSettings.Task?

  @Option(name: .long, help: "Points out of 1 by which a score may drop and still be no bug.")
  var margin = 0.05

  @OptionGroup var store: StoreOptions
  @OptionGroup var fleet: FleetOptions

  var wantsJSON: Bool { store.json }

  func validate() throws {
    guard (job == nil) != (reference == nil && target == nil) else {
      throw ValidationError("Give a job, or --reference and --target.")
    }
    guard (reference == nil) == (target == nil) else { throw ValidationError("--reference and --target go together.") }
    guard job == nil || choices == nil && task == nil else {
      throw ValidationError("With a job, choices and task stand in playbook.evaluation.")
    }
    if let choices, !(2...1_000).contains(choices) { throw ValidationError("--choices is 2 to 1000.") }
    guard (0.000_1...1).contains(margin) else { throw ValidationError("--margin is above 0 and at most 1.") }
  }

  func run() async throws {
    if let job {
      return try await PlaybookRunCommand.start(PlaybookName.evaluate.rawValue, job: job, store: store, fleet: fleet)
    }
    let settings = EvaluationSettings(task: task, choices: choices, margin: margin)
    let sides = try [reference, target].map { path in
      let set = try SampleFile.read(path ?? "", settings)
      if set.samples.isEmpty, let first = set.problems.first {
        throw InputError(message: "\(set.name):\(first.line): \(first.message); no line of the file is a sample")
      }
      return set
    }
    let evaluation = Evaluation(reference: sides[0], target: sides[1], settings: settings)
    Console.print(store.json ? try evaluation.json() : evaluation.text())
    throw ExitCode(ExitPolicy.code(verdict: evaluation.conclusion.verdict, hasFailedRuns: false))
  }
}

extension EvaluationSpec.Task: ExpressibleByArgument {}

/// A file of samples.
enum SampleFile {
  /// - Throws: `InputError` where it cannot be read or is too large.
  static func read(_ path: String, called name: String? = nil, _ settings: EvaluationSettings) throws -> SampleSet {
    let facts = try? FileManager.default.attributesOfItem(
      atPath: URL(fileURLWithPath: path).resolvingSymlinksInPath().path)
    guard let facts, facts[.type] as? FileAttributeType == .typeRegular, let size = facts[.size] as? Int else {
      throw InputError(message: "\(path): there is no such file")
    }
    guard size <= SampleSet.byteLimit else {
      throw InputError(message: "\(path): \(size) bytes are more than samples of an evaluation have (1 GiB)")
    }
    guard let bytes = FileManager.default.contents(atPath: path) else {
      throw InputError(message: "\(path): cannot be read")
    }
    return SampleSet(name: name ?? path, jsonLines: bytes, settings: settings)
  }
}
