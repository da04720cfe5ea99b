import Foundation
import TestSupport
import Testing

@testable import Transports

/// What is sent to a login shell, which may be any.
@Suite struct CommandFenceTests {
  private static let command = """
    a='it''s'; printf '%s|' "$a" 'quotes " and \\ and ! and $a and `a`' "é%b" '!!' "a\\b"
    # A comment with an ' in it!
    cat <<'END'
    $a \n 100% {a,b} ~ * [a] ?
    END
    exit 7
    """

  @Test func `it is one line and one quoted word`() {
    let sent = CommandFence().wrapped(Self.command)
    let inside = sent.split(separator: "'", omittingEmptySubsequences: false)
    #expect(inside.count == 3)
    #expect(inside.last == "")
    #expect(!sent.contains { $0.isNewline || $0 == "!" || !$0.isASCII })
  }

  /// The first ones must be there (`Deploy/test` installs tcsh); of the others, those that are.
  private static let shells =
    ["sh", "dash", "bash", "tcsh"]
    + ["zsh", "csh", "bsd-csh", "fish", "busybox sh"].filter { shell in
      let folders = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":")
      return folders.contains { FileManager.default.isExecutableFile(atPath: "\($0)/\(shell.prefix { $0 != " " })") }
    }

  @Test(arguments: shells)
  func `any login shell hands the command on as it is`(_ shell: String) async throws {
    let fence = CommandFence()
    let expected = try await runTool("sh", ["-c", Self.command], mustSucceed: false)
    let words = shell.split(separator: " ").map(String.init) + ["-c", fence.wrapped(Self.command)]
    let result = try await runTool("env", words, mustSucceed: false)
    var output = fence.filter()
    var errors = fence.filter()
    #expect(String(decoding: output.pass(Array(result.output.utf8)), as: UTF8.self) == expected.output)
    #expect(errors.pass(Array(result.errorOutput.utf8)) == [])
    #expect(errors.isOpen)
    #expect(result.status == 7)
  }
}
