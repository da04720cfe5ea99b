import Foundation
import TestSupport
import Testing

/// What stands in `Deploy`, tried with the binary beside the tests.
@Suite struct InstallTests {
  private static let verbs = [
    "run", "plan", "status", "logs", "resume", "cancel", "retry", "explain", "report", "playbook", "serve", "compare",
    "slots", "schema", "inspect", "unshard", "hosts",
  ]

  @Test func `Install brings the binary, its completions, its page and its unit`() async throws {
    try await Scratch.with { scratch in
      let prefix = scratch.path("prefix")
      let printed = try await runTool(
        RollcallBinary.repository + "/Deploy/install", ["--binary", try RollcallBinary.path, "--prefix", prefix]
      ).output
      for line in printed.split(separator: "\n") {
        #expect(FileManager.default.fileExists(atPath: String(line)), "\(line)")
      }
      let version = try await runTool(prefix + "/bin/rollcall", ["--version"]).output
      #expect(version.contains("."))

      // Bash really completes: the verbs, and the options of one.
      let bash = try await runTool(
        "bash", [], environment: ["PATH": "\(prefix)/bin:/usr/bin:/bin"],
        input: """
          source \(prefix)/share/bash-completion/completions/rollcall
          complete -p rollcall
          complete_words() {
            COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}; COMPREPLY=()
            "$(complete -p rollcall | sed 's/.*-F \\([^ ]*\\) .*/\\1/')" rollcall "${@: -1}" "${@: -2:1}"
            echo "${COMPREPLY[*]}"
          }
          complete_words rollcall ""
          complete_words rollcall serve --
          """)
      let lines = bash.output.split(separator: "\n").map(String.init)
      try #require(lines.count == 3, "\(bash.output) \(bash.errorOutput)")
      let verbs = Set(lines[1].split(separator: " ").map(String.init))
      #expect(verbs.isSuperset(of: Self.verbs), "\(verbs)")
      #expect(Set(lines[2].split(separator: " ")).isSuperset(of: ["--listen", "--token-file", "--store"]))
      let zsh = try #require(scratch.text("prefix/share/zsh/site-functions/_rollcall"))
      #expect(zsh.hasPrefix("#compdef rollcall"))
      let fish = try #require(scratch.text("prefix/share/fish/vendor_completions.d/rollcall.fish"))
      for verb in Self.verbs {
        #expect(zsh.contains("'\(verb):"), "\(verb)")
        #expect(fish.contains("'\(verb)'"), "\(verb)")
      }

      // Every verb, and those below a verb, with every option that its help has.
      let page = try #require(scratch.text("prefix/share/man/man1/rollcall.1"))
      for verb in Self.verbs + ["hosts drain", "playbook evaluate"] {
        #expect(page.contains(".SS rollcall \(verb)\n"), "\(verb)")
      }
      #expect(page.contains("\n  \\-\\-listen <listen>"))
      #expect(!page.split(separator: "\n").contains { $0.hasPrefix("'") })
    }
  }

  @Test func `The unit is one that systemd takes, and holds little power`() async throws {
    try await Scratch.with { scratch in
      let prefix = scratch.path("prefix")
      try await runTool(
        RollcallBinary.repository + "/Deploy/install", ["--binary", try RollcallBinary.path, "--prefix", prefix])
      let unit = try #require(scratch.text("prefix/lib/systemd/system/rollcall.service"))
      #expect(!unit.contains("@PREFIX@"))
      for line in [
        "ExecStart=\(prefix)/bin/rollcall serve", "NoNewPrivileges=yes", "ProtectSystem=strict", "ProtectHome=yes",
        "CapabilityBoundingSet=", "KillMode=process",
      ] { #expect(unit.contains("\n" + line)) }
      let file = prefix + "/lib/systemd/system/rollcall.service"
      let verified = try await runTool("systemd-analyze", ["verify", file])
      #expect(verified.errorOutput.isEmpty, "\(verified.errorOutput)")
      // Ten times the exposure level that it may have.
      try await runTool("systemd-analyze", ["security", "--offline=true", "--threshold=20", "--no-pager", file])
    }
  }

  @Test func `A prefix that would mean something else in the unit is refused`() async throws {
    for prefix in ["relative", "/tmp/a b", "/tmp/$HOME", "/tmp/x|y", "/tmp/%n"] {
      let result = try await runTool(
        RollcallBinary.repository + "/Deploy/install", ["--binary", try RollcallBinary.path, "--prefix", prefix],
        mustSucceed: false)
      #expect(result.status == 64, "\(prefix)")
      #expect(result.output.isEmpty)
    }
  }

  @Test(arguments: ["nightly.yaml", "invariance.yaml"])
  func `The examples plan without a warning`(name: String) async throws {
    try await Scratch.with { scratch in
      let rollcall = RollcallBinary(store: scratch.path("store"), directory: RollcallBinary.repository)
      let outcome = try await rollcall(
        "plan", "Deploy/examples/\(name)", "--fleet", "Deploy/examples/fleet.yaml", "--json")
      #expect(outcome.status == 0, "\(outcome.errorOutput)")
      #expect(!outcome.errorOutput.contains("warning"), "\(outcome.errorOutput)")
    }
  }

  /// No program here builds images; the names that it takes from the repository must be right at least.
  @Test func `The container file and the crontab name what there is`() async throws {
    let folder = RollcallBinary.repository + "/Deploy/"
    let container = try String(contentsOfFile: folder + "Containerfile", encoding: .utf8)
    for word in ["serve", "--listen", "--token-file", "USER rollcall", "STOPSIGNAL SIGTERM", "ROLLCALL_STORE=/store"] {
      #expect(container.contains(word))
    }
    let crontab = try String(contentsOfFile: folder + "examples/crontab", encoding: .utf8)
    for line in crontab.split(separator: "\n") where !line.hasPrefix("#") {
      #expect(line.contains(#/^\S+ +\S+ \S+ \S+ \S+ +rollcall run \/etc\/rollcall\/(nightly|invariance)\.yaml /#))
    }
  }
}
