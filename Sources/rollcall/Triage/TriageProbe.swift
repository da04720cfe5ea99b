import Dumps
import Foundation
import Planning
import Playbooks

/// Gathers what a triage decides on.
struct TriageProbe: Sendable {
  let spec: TriageSpec
  /// Relative paths start here.
  let directory: String

  func take(_ look: Experiment.Look) async throws -> TriageEvidence {
    switch look {
    case .completions: try await completions()
    case .logs: TriageEvidence(logs: logs())
    case .ends: ends()
    case .schema: TriageEvidence()
    }
  }

  private func completions() async throws -> TriageEvidence {
    var evidence = TriageEvidence()
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
    return evidence
  }

  private func ends() -> TriageEvidence {
    var evidence = TriageEvidence()
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
