import Foundation
import TestSupport
import Testing

/// A job of `Jobs`, as a person copies and changes it.
enum SampleJob {
  /// A store of its own and a copy of a job under `Jobs`, changed.
  static func with(
    _ job: String, replacing changes: [(String, String)] = [], _ body: (RollcallBinary, Scratch) async throws -> Void
  ) async throws {
    try await Scratch.with { scratch in
      let jobs = RollcallBinary.repository + "/Jobs"
      var text = try String(contentsOfFile: "\(jobs)/\(job).yaml", encoding: .utf8)
      for (old, new) in changes {
        try #require(text.contains(old), "\(job).yaml no longer says \(old)")
        text = text.replacing(old, with: new)
      }
      try scratch.write("job.yaml", text)
      try FileManager.default.createSymbolicLink(
        atPath: scratch.path("workloads"), withDestinationPath: jobs + "/workloads")
      try await body(.warm(in: scratch), scratch)
    }
  }
}

extension RollcallBinary.Outcome {
  /// The names of the steps that a playbook took.
  func steps() throws -> [String] {
    try #require(try json()["steps"] as? [[String: Any]]).compactMap { $0["step"] as? String }
  }
}
