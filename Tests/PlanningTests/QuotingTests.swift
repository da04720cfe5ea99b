import Foundation
import OrderedCollections
import Planning
import TestSupport
import Testing

/// Runs planned commands through a real `/bin/sh`: a value arrives as itself, and nothing of it is executed.
@Suite struct QuotingTests {
  static let attacks = [
    "a'b; touch pwned $(touch pwned) `touch pwned`", "\"; touch pwned; \"", "$(touch pwned)", "`touch pwned`",
    "'; touch pwned #", "\\", "\\'", "\\\"; touch pwned; \\\"", "a b", "  lead and trail  ", "*", "~", "~root", "$HOME",
    "${HOME}", "-n", "a=b", "FOO=bar", "#not a comment", "a\nb", "tab\there", "&& touch pwned", "| touch pwned",
    "> pwned", "!!", "if", "{a,b}", "[a-z]*", "é '\u{301}; touch pwned #", "\u{1F600}", "%s %n", "a\\nb", "",
    "'\u{301}; touch pwned; '", "\"\u{301}$(touch pwned)", "}}; touch pwned",
  ]

  /// A command whose output is the value, and what else that output has.
  static let commands: [(name: String, text: String, before: String, after: String)] = [
    ("word", "printf '<%s>' ${{ x }}", "<", ">"),
    ("within a word", "printf '<%s>' --flag=${{ x }}/end", "<--flag=", "/end>"),
    ("in double quotes", "printf '<%s>' \"a ${{ x }} b\"", "<a ", " b>"),
    ("in single quotes", "printf '<%s>' 'a ${{ x }} b'", "<a ", " b>"),
    ("in a substitution", "printf '<%s>' \"$(printf '%s.' ${{ x }})\"", "<", ".>"),
    ("in quotes in a substitution in quotes", "printf '<%s>' \"$(printf '%s.' \"${{ x }}\")\"", "<", ".>"),
    ("after a subshell in a substitution", "printf '<%s>' \"$( (true); printf '%s.' ${{ x }})\"", "<", ".>"),
    ("in an assignment", "v=${{ x }}; printf '<%s>' \"$v\"", "<", ">"),
    ("after an escaped quote", "printf '<%s%s>' \\' ${{ x }}", "<'", ">"),
    ("after an escaped quote in quotes", "printf '<%s>' \"\\\"${{ x }}\"", "<\"", ">"),
    ("after a comment with a quote", "# don't\nprintf '<%s>' ${{ x }}", "<", ">"),
    ("after a parameter", "y=1; printf '<%s%s>' ${y:-2} ${{ x }}", "<1", ">"),
    ("after arithmetic", "printf '<%s%s>' $(( (1 + 2) * 3 )) ${{ x }}", "<9", ">"),
    ("after # in a word", "printf '<%s%s>' a#'b' ${{ x }}", "<a#b", ">"),
    ("in case", "case ${{ x }} in *) printf '<%s>' ${{ x }};; esac", "<", ">"),
  ]

  static func yaml(_ text: String) -> String {
    // A JSON string is a YAML string.
    let data = (try? JSONEncoder().encode(text)) ?? Data()
    return String(decoding: data, as: UTF8.self).replacing("\\/", with: "/")
  }

  static func job(_ command: String, _ value: String) -> String {
    "name: t\nmatrix: {x: [\(yaml(value))]}\nrun: {command: \(yaml(command))}\n"
  }

  private func shell(_ command: String, in scratch: Scratch) async throws -> ToolResult {
    try await runTool("/bin/sh", ["-c", command], directory: scratch.path, mustSucceed: false)
  }

  @Test(arguments: commands.indices)
  func axisValuesArriveAsThemselves(index: Int) async throws {
    let command = Self.commands[index]
    let scratch = try Scratch()
    defer { scratch.remove() }
    for value in Self.attacks {
      let plan = try Planner.plan(text: Self.job(command.text, value), path: "job.yaml")
      let result = try await shell(plan.cells[0].run.command, in: scratch)
      #expect(
        result.output == command.before + value + command.after,
        "\(command.name), value \(value), command \(plan.cells[0].run.command), errors \(result.errorOutput)")
      #expect(!FileManager.default.fileExists(atPath: scratch.path + "/pwned"))
    }
  }

  @Test(arguments: commands.indices)
  func whatIsKnownAtLaunchArrivesAsItself(index: Int) async throws {
    let command = Self.commands[index]
    let scratch = try Scratch()
    defer { scratch.remove() }
    let text = command.text.replacing("${{ x }}", with: "${{ dump_dir }}")
    let plan = try Planner.plan(text: Self.job(text, "v"), path: "job.yaml")
    for value in Self.attacks {
      let run = plan.cells[0].resolved(["dump_dir": value])
      let result = try await shell(run.command, in: scratch)
      #expect(result.output == command.before + value + command.after, "\(command.name): \(run.command)")
      #expect(!FileManager.default.fileExists(atPath: scratch.path + "/pwned"))
    }
  }

  @Test func theEnvironmentTakesValuesAsTheyAre() async throws {
    for value in Self.attacks {
      let plan = try Planner.plan(
        text: """
          name: t
          matrix: {x: [\(Self.yaml(value))], flag: [true]}
          run:
            command: printf '%s|%s|%s' "$V" "$ROLLCALL_X" "$FLAG"
            env: {V: "<${{ x }} ${{ run_dir }}>", FLAG: "${{ flag }}"}
          """, path: "job.yaml")
      let run = plan.cells[0].resolved(["run_dir": value])
      // These variables and no others.
      let variables = ["PATH=/usr/bin:/bin"] + run.env.map { "\($0.key)=\($0.value)" }
      let result = try await runTool("env", ["-i"] + variables + ["/bin/sh", "-c", run.command], mustSucceed: false)
      #expect(result.output == "<\(value) \(value)>|\(value)|1")
    }
  }

  @Test(
    arguments: [
      ("echo `date` ${{ x }}", "it stands after back quotes; write $( ) instead"),
      ("echo `echo ${{ x }}`", "it stands after back quotes; write $( ) instead"),
      ("cat <<EOF\n${{ x }}\nEOF", "it stands after << (a here-document)"),
      ("echo $'it\\'s' ${{ x }}", "it stands after $'…', which shells read differently"),
      ("echo ${y:-${{ x }}}", "it stands within ${ }"),
      ("echo ${y:-'}'} ${{ x }}", "it stands after ${ } with quotes or $ in it"),
      ("echo \\${{ x }}", "it stands right after a backslash"),
      ("echo \"\\${{ x }}\"", "it stands right after a backslash"),
      ("echo $(case a in a) echo ${{ x }};; esac)", "it stands after `case` within $( )"),
      ("echo $(( ${{ x }} + 1 ))", "$(( )) takes whole numbers only"),
      ("bash -c \"echo ${{ x }}\"", "the value a b would be read again as code"),
      ("env A=1 /bin/sh -ec 'echo ${{ x }}'", "the value a b would be read again as code"),
      ("python3 -c 'print(\"${{ x }}\")'", "the value a b would be read again as code"),
      ("eval \"echo ${{ x }}\"", "the value a b would be read again as code"),
    ])
  func refusesPlacesWhereNoQuotingIsSafe(command: String, reason: String) {
    let found = problems(Self.job(command, "a b"))
    #expect(found.count == 1)
    #expect(
      found.first?.hasSuffix(
        ": ${{ x }} cannot be put here safely: \(reason); use the environment variable $ROLLCALL_X instead") == true,
      "\(found)")
  }

  @Test(
    arguments: [
      ("echo $(( ${{ n }} + 1 ))", "9"), ("bash -c 'echo --n=${{ n }}'", "--n=8"), ("echo ${{ n }}>out; cat out", "8"),
      ("echo a${{ n }}${{ n }}>out; cat out", "a88"), ("echo ${{ flag }} # don't ${{ n }}", "true"),
      ("# it's ${{ n }}\necho ${{ n }}", "8"), ("printf '%s\\n' '$${{ n }}'", "${{ n }}"), ("echo ${{n}}", "8"),
      ("git -c user.name=\"${{ name }}\" config user.name", "A B"),
    ])
  func takesWhatIsSafe(command: String, output: String) async throws {
    let scratch = try Scratch()
    defer { scratch.remove() }
    let plan = try Planner.plan(
      text: "name: t\nmatrix: {n: [8], flag: [true], name: [\"A B\"]}\nrun: {command: \(Self.yaml(command))}\n",
      path: "job.yaml")
    let result = try await shell(plan.cells[0].run.command, in: scratch)
    #expect(result.output == output + "\n", "\(plan.cells[0].run.command) \(result.errorOutput)")
  }

  @Test func plainWordsStayBare() throws {
    let plan = try Planner.plan(
      text: "name: t\nmatrix: {a: [eager], b: [1.5], c: [x_y/z-1.0:8080@h]}\n"
        + "run: {command: \"r ${{ a }} ${{ b }} ${{ c }} ${{ dump_dir }}\"}\n", path: "job.yaml")
    #expect(plan.cells[0].resolved(["dump_dir": "/w/d"]).command == "r eager 1.5 x_y/z-1.0:8080@h /w/d")
  }

  @Test func aNameThatStaysUnresolvedStopsTheShell() async throws {
    let plan = try Planner.plan(text: Self.job("touch ${{ dump_dir }}", "v"), path: "job.yaml")
    let command = plan.cells[0].resolved([:]).command
    #expect(command == "touch ${{ dump_dir }}")
    let result = try await runTool("/bin/sh", ["-c", command], mustSucceed: false)
    #expect(result.status != 0)
  }

  @Test func aValueCannotPoseAsAName() {
    #expect(
      problems(Self.job("printf %s ${{ x }}", "${{ dump_dir }}"))
        == ["2:14: ${{ }} is replaced in `run` and `dumps` only"])
  }
}
