/// An array that notes which of its elements may have changed, so that nobody has to look through all of them.
struct NotedArray<Element: Sendable>: RandomAccessCollection, Sendable {
  private var elements: [Element]
  private var changed: Set<Int>

  /// All of them are new.
  init(_ elements: [Element] = []) {
    self.elements = elements
    changed = Set(elements.indices)
  }

  var startIndex: Int { 0 }
  var endIndex: Int { elements.count }

  subscript(index: Int) -> Element {
    // Elements are large: nobody copies one to read or change a part of it.
    _read { yield elements[index] }
    _modify {
      changed.insert(index)
      yield &elements[index]
    }
  }

  mutating func append(_ element: Element) {
    changed.insert(elements.count)
    elements.append(element)
  }

  /// For something that others hold of it.
  mutating func note(_ index: Int) { changed.insert(index) }

  /// Those that may have changed since this was last asked.
  mutating func takeChanged() -> Set<Int> {
    defer { changed = [] }
    return changed
  }
}
