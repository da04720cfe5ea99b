import ArgumentParser
import Playbooks

/// `rollcall playbook triage JOB`: a served model, from the first wrong token to the part of the model.
struct PlaybookTriageCommand: AsyncParsableCommand, HasJSONOutput {
  static let configuration = CommandConfiguration(
    commandName: "triage",
    abstract: "Ask a served model what is known, search its logs, and hold both of its ends against the checkpoint.",
    discussion: """
      Reads playbook.triage of the job: url and model, and where given reference_url, prompts, logs, dumps and weights. \
      Waits until the server is healthy and asks /v1/completions at temperature 0, each prompt twice.

      The exit code: 0 no bug, 1 a bug was found, 2 no answer. With --bisect, a bug in the transformer layers is \
      bisected by the same job. `rollcall playbook resume` goes on after any interruption; what was asked is not asked \
      again.

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
    let name = bisect ? PlaybookName.triageBisect : .triage
    try await PlaybookRunCommand.start(name.rawValue, job: job, store: store, fleet: fleet)
  }
}
