import Foundation
import TestSupport
import Testing

/// `triage` against a real server, as a person runs it.
@Suite(.serialized) struct TriageTests {
  /// Runs the triage of a job beside a server that this starts and ends.
  private func triage(
    _ scratch: Scratch, server: [String], more: [String] = [], wait: String = "30s", bisects: Bool = false,
    job: String? = nil
  ) async throws -> RollcallBinary.Outcome {
    let workloads = RollcallBinary.repository + "/Jobs/workloads"
    try scratch.write(
      "job.in",
      job ?? """
        name: triage
        run: {command: "true"}
        playbook:
          triage:
            url: http://127.0.0.1:PORT
            model: tiny
            wait: \(wait)
            \(more.joined(separator: "\n    "))
        """)
    try scratch.write(
      "go.sh",
      """
      rm -f port
      "$ROLLCALL_PYTHON" '\(workloads)/completions_server.py' --port 0 --port-file port \(server.joined(separator: " ")) &
      server=$!
      trap 'kill $server' EXIT
      while [ ! -s port ]; do kill -0 $server || exit 99; sleep 0.05; done
      sed "s/PORT/$(cat port)/" job.in > job.yaml
      "$ROLLCALL" playbook triage job.yaml --json \(bisects ? "--bisect" : "")
      """)
    let rollcall = RollcallBinary(store: scratch.path("store"), directory: scratch.path)
    let result = try await runTool(
      "bash", ["go.sh"], environment: rollcall.variables.merging(["ROLLCALL": try RollcallBinary.path]) { $1 },
      directory: scratch.path, timeout: .seconds(600), mustSucceed: false)
    return .init(status: result.status, output: result.output, errorOutput: result.errorOutput)
  }

  private func conclusion(_ outcome: RollcallBinary.Outcome) throws -> [String: Any] {
    try #require(try outcome.json()["conclusion"] as? [String: Any], "\(outcome.output) \(outcome.errorOutput)")
  }

  @Test(
    .timeLimit(.minutes(5)),
    arguments: [
      ([], 0, "no-bug"), (["--slow", "3"], 0, "no-bug"), (["--fault", "prefill"], 1, "prefill"),
      (["--fault", "wrong"], 1, "prefill"), (["--fault", "decode"], 1, "decode"),
      (["--fault", "unstable"], 2, "nondeterministic"), (["--fault", "error"], 2, "no-answer"),
    ] as [([String], Int, String)])
  func theServerIsToldApart(_ server: [String], _ status: Int, _ kind: String) async throws {
    try await Scratch.with { scratch in
      let outcome = try await triage(
        scratch, server: server, more: ["prompts: [{prompt: The opposite of hot is, expected: cold}]"])
      #expect(outcome.status == status, "\(outcome.errorOutput)")
      #expect(try conclusion(outcome)["kind"] as? String == kind)
      let id = try #require(try outcome.json()["id"] as? String)
      #expect(try #require(scratch.text("store/playbooks/\(id)/notes/01_completions.md")).contains("The capital of"))
    }
  }

  @Test(.timeLimit(.minutes(5))) func whatIsNeverHealthyIsNoAnswer() async throws {
    try await Scratch.with { scratch in
      let outcome = try await triage(scratch, server: ["--slow", "1000000"], wait: "2s")
      #expect(outcome.status == 2, "\(outcome.errorOutput)")
      #expect(try conclusion(outcome)["kind"] as? String == "not-served")
      #expect(try #require(try conclusion(outcome)["summary"] as? String).contains("503"))
    }
  }

  @Test func theChatInterfaceIsRefused() async throws {
    try await Scratch.with { scratch in
      try scratch.write(
        "job.yaml",
        """
        name: triage
        run: {command: "true"}
        playbook: {triage: {url: "http://127.0.0.1:1/v1/chat/completions", model: tiny}}
        """)
      let rollcall = RollcallBinary(store: scratch.path("store"), directory: scratch.path)
      let chat = try await rollcall("playbook", "triage", "job.yaml")
      #expect(chat.status == 65)
      #expect(chat.errorOutput.contains("[chat-api-for-triage]"))
      let none = try await rollcall("playbook", "triage", RollcallBinary.repository + "/Jobs/ladder.yaml")
      #expect(none.status == 65)
      #expect(none.errorOutput.contains("add `playbook.triage`"))
    }
  }

  @Test(.timeLimit(.minutes(5))) func aFallbackInTheLogIsFound() async throws {
    try await Scratch.with { scratch in
      try scratch.write("server.log", "started\n[aiter] failed jit build [module_gemm]\n")
      let outcome = try await triage(scratch, server: ["--fault", "prefill"], more: ["logs: [server.log]"])
      #expect(outcome.status == 1)
      #expect(try conclusion(outcome)["subject"] as? String == "failed-jit-build")
      let right = try await triage(scratch, server: [], more: ["logs: [none.log]"])
      #expect(right.status == 2, "a log that cannot be read is no PASS")
    }
  }

  /// Dumps of both ends, and the checkpoint, with one thing wrong.
  private static let ends = """
    import json, os, struct, sys, torch
    fault = sys.argv[1]
    torch.manual_seed(5)
    embed, head = torch.randn(64, 32).bfloat16(), torch.randn(64, 32).bfloat16()
    ids = torch.tensor([3, 1, 60, 7, 7, 12])
    rows = embed[ids].clone()
    hidden = torch.randn(6, 32).bfloat16()
    logits = (hidden.double() @ head.double().T).bfloat16()
    if fault == "embedding": rows[4] = embed[8]
    if fault == "head": logits = (hidden.double() @ head.double().roll(1, 0).T).bfloat16()
    if fault == "nan": logits[5, 9] = float("nan")
    os.makedirs("dumps", exist_ok=True)
    torch.save({"input": ids, "hidden": rows}, "dumps/layer00_Embedding_rank0.pt")
    torch.save({"input": hidden, "hidden": logits}, "dumps/layer03_LMHead_rank0.pt")
    tensors = {"model.embed_tokens.weight": embed, "lm_head.weight": head}
    header, data = {}, b""
    for name, tensor in tensors.items():
        raw = tensor.view(torch.int16).numpy().tobytes()
        header[name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    open("model.safetensors", "wb").write(struct.pack("<Q", len(text)) + text + data)
    """

  @Test(
    .timeLimit(.minutes(5)),
    arguments: [
      ("none", "prefill", "right", "right"), ("embedding", "embedding", "wrong", "right"),
      ("head", "lm-head", "right", "wrong"), ("nan", "non-finite", "right", "non-finite"),
    ])
  func bothEndsAreHeldAgainstTheCheckpoint(
    _ fault: String, _ kind: String, _ embedding: String, _ head: String
  ) async throws {
    try await Scratch.with { scratch in
      try scratch.write("ends.py", Self.ends)
      _ = try await runTool(testPython, ["ends.py", fault], directory: scratch.path)
      let outcome = try await triage(
        scratch, server: ["--fault", "prefill"], more: ["dumps: dumps", "weights: model.safetensors"])
      #expect(outcome.status == 1, "\(outcome.errorOutput)")
      #expect(try conclusion(outcome)["kind"] as? String == kind)
      let evidence = try #require(try outcome.json()["evidence"] as? [String: Any])
      #expect((evidence["embedding"] as? [String: Any])?["state"] as? String == embedding, "\(evidence)")
      #expect((evidence["head"] as? [String: Any])?["state"] as? String == head, "\(evidence)")
    }
  }

  @Test(.timeLimit(.minutes(10))) func theSampleJobGoesOnToTheLayer() async throws {
    try await Scratch.with { scratch in
      let jobs = RollcallBinary.repository + "/Jobs"
      try FileManager.default.createSymbolicLink(
        atPath: scratch.path("workloads"), withDestinationPath: jobs + "/workloads")
      let job = try String(contentsOfFile: jobs + "/triage.yaml", encoding: .utf8)
      try #require(job.contains(":8765"))
      let outcome = try await triage(
        scratch, server: ["--fault", "prefill"], bisects: true, job: job.replacing(":8765", with: ":PORT"))
      #expect(outcome.status == 1, "\(outcome.errorOutput)")
      let rollcall = RollcallBinary(store: scratch.path("store"), directory: scratch.path)
      let shown = try await rollcall("playbook", "show", "last", "--json")
      let end = try conclusion(shown)
      #expect(end["kind"] as? String == "located")
      #expect(end["layer"] as? Int == 22)
      #expect(end["stage"] as? String == "MoE")
    }
  }

  @Test(.timeLimit(.minutes(10))) func aKilledTriageGoesOnWhereItWas() async throws {
    let bug = "--layer 22"
    try await SampleJob.with(
      "triage", replacing: [(":8765", ":PORT"), ("--layers 36", "--layers 4"), (bug, "--layer 2"), ("0-35", "0-3")]
    ) { rollcall, scratch in
      try scratch.write("job.in", try #require(scratch.text("job.yaml")))
      try scratch.write(
        "go.sh",
        """
        serve() {
          rm -f port
          "$ROLLCALL_PYTHON" workloads/completions_server.py --port-file port "$@" &
          server=$!
          while [ ! -s port ]; do kill -0 $server || exit 99; sleep 0.05; done
        }
        # Starts rollcall and kills it as soon as it says the word.
        until_it_says() {
          word=$1; shift
          "$ROLLCALL" playbook "$@" 2>words &
          while ! grep -q "$word" words; do kill -0 $! || exit 98; sleep 0.05; done
          kill -KILL $!; wait $!
        }
        trap 'kill $server 2>/dev/null' EXIT
        serve --port 0 --slow 1000000
        sed "s/PORT/$(cat port)/" job.in >job.yaml
        until_it_says 'waiting for' triage job.yaml --bisect >/dev/null
        port=$(cat port); kill $server; wait $server
        "$ROLLCALL" playbook list >listed
        serve --port $port --fault prefill
        until_it_says 'step 4' resume last >/dev/null
        kill $server; wait $server
        "$ROLLCALL" playbook show last --json >between
        "$ROLLCALL" playbook resume last --json
        """)
      let result = try await runTool(
        "bash", ["go.sh"], environment: rollcall.variables.merging(["ROLLCALL": try RollcallBinary.path]) { $1 },
        directory: scratch.path, timeout: .seconds(600), mustSucceed: false)
      let outcome = RollcallBinary.Outcome(
        status: result.status, output: result.output, errorOutput: result.errorOutput)
      #expect(outcome.status == 1, "\(outcome.errorOutput)")
      #expect(try #require(scratch.text("listed")).contains("goes on"))
      #expect(try #require(scratch.text("between")).contains("embedding-and-lm-head"))
      // Nobody serves any more: what was asked was not asked again.
      let end = try conclusion(outcome)
      #expect(end["kind"] as? String == "located")
      #expect(end["layer"] as? Int == 2)
      #expect(end["stage"] as? String == "MoE")
      let steps = try outcome.steps()
      #expect(steps.prefix(3) == ["completions", "logs", "embedding-and-lm-head"])
      #expect(Set(steps).count == steps.count && steps.count > 3)
      let id = try #require(try outcome.json()["id"] as? String)
      let joined = try await rollcall("report", id, "--format", "markdown")
      #expect(joined.output.contains("The capital of France"))
      #expect(scratch.text("store/playbooks/\(id)/notes/03_embedding-and-lm-head.md") != nil)
    }
  }
}
