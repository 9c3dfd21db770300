//! The program image: which object an address lies in, and each object's build id.
//!
//! Owns the walk over the loaded objects. An address leaves the process only as
//! (build id, offset), and comes back only when an object with that build id is
//! loaded and the offset lies in its readable data, aligned.

use std::ffi::c_void;
use std::mem::align_of;
use std::slice;

/// What tells two builds of an object apart: its build id note, or, where the linker
/// wrote none, a hash of its layout.
pub(crate) type BuildId = Vec<u8>;

/// The object that `address` lies in: its build id, and the address as an offset.
pub(crate) fn locate(address: usize) -> Option<(BuildId, u64)> {
    find(|object| {
        object.contains(address).then(|| (object.build_id(), (address - object.base) as u64))
    })
}

/// Whether an object with this build id is loaded.
pub(crate) fn is_loaded(build_id: &[u8]) -> bool {
    find(|object| (object.build_id() == build_id).then_some(())).is_some()
}

/// The address of `offset` in the loaded object with this build id, when `size` bytes
/// there are readable and aligned for a pointer.
pub(crate) fn resolve(build_id: &[u8], offset: u64, size: usize) -> Option<usize> {
    find(|object| {
        let address = object.base.checked_add(usize::try_from(offset).ok()?)?;
        let last = address.checked_add(size.checked_sub(1)?)?;
        (address.is_multiple_of(align_of::<usize>())
            && object.contains(address)
            && object.contains(last)
            && object.build_id() == build_id)
            .then_some(address)
    })
}

/// An address or a length of this process, which the system gives in 64 bits.
const fn native(word: u64) -> usize {
    usize::from_ne_bytes(word.to_ne_bytes())
}

struct Object<'a> {
    base: usize,
    headers: &'a [libc::Elf64_Phdr],
}

impl Object<'_> {
    /// Whether a readable segment holds the address.
    fn contains(&self, address: usize) -> bool {
        self.headers.iter().any(|header| {
            let start = self.base.wrapping_add(native(header.p_vaddr));
            header.p_type == libc::PT_LOAD
                && header.p_flags & libc::PF_R != 0
                && (start..start.wrapping_add(native(header.p_memsz))).contains(&address)
        })
    }

    fn segment(&self, header: &libc::Elf64_Phdr) -> &[u8] {
        let start = self.base.wrapping_add(native(header.p_vaddr));
        // SAFETY: the loader maps every PT_NOTE, PT_DYNAMIC and PT_GNU_EH_FRAME segment, readable, for
        // as long as the object is loaded, and Rust does not unload objects.
        unsafe { slice::from_raw_parts(start as *const u8, native(header.p_memsz)) }
    }

    fn build_id(&self) -> BuildId {
        let notes = self.headers.iter().filter(|header| header.p_type == libc::PT_NOTE);
        if let Some(id) = notes.map(|header| self.segment(header)).find_map(gnu_build_id) {
            return id;
        }
        // The table that unwinding searches names every function's place, so it
        // differs between any two builds whose code differs in length or order.
        let mut hash = Fnv::default();
        for header in self.headers {
            hash.add(&header.p_vaddr.to_le_bytes());
            hash.add(&header.p_memsz.to_le_bytes());
            if header.p_type == libc::PT_GNU_EH_FRAME {
                hash.add(self.segment(header));
            }
        }
        hash.0.to_le_bytes().to_vec()
    }
}

/// The (tag, value) pairs of the dynamic section of the object whose code `address` lies
/// in, and that object's base.
pub(super) fn dynamic_section(address: usize) -> Option<(usize, Vec<(usize, usize)>)> {
    find(|object| {
        if !object.contains(address) {
            return None;
        }
        let header = object.headers.iter().find(|header| header.p_type == libc::PT_DYNAMIC)?;
        let words = object.segment(header).chunks_exact(size_of::<usize>());
        let words: Vec<usize> =
            words.filter_map(|word| word.try_into().ok().map(usize::from_ne_bytes)).collect();
        let tags = words.chunks_exact(2).map(|pair| (pair[0], pair[1]));
        Some((object.base, tags.take_while(|(tag, _)| *tag != 0).collect()))
    })
}

/// The build id in a run of ELF notes.
fn gnu_build_id(mut notes: &[u8]) -> Option<BuildId> {
    const NT_GNU_BUILD_ID: u32 = 3;
    let word =
        |bytes: &[u8], at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
    loop {
        let (name_len, data_len, kind) = (word(notes, 0)?, word(notes, 4)?, word(notes, 8)?);
        let data_at = 12 + (name_len as usize).next_multiple_of(4);
        if kind == NT_GNU_BUILD_ID && notes.get(12..16) == Some(b"GNU\0") {
            return notes.get(data_at..data_at + data_len as usize).map(<[u8]>::to_vec);
        }
        notes = notes.get(data_at + (data_len as usize).next_multiple_of(4)..)?;
    }
}

/// FNV-1a, 64 bits (<http://www.isthe.com/chongo/tech/comp/fnv/>): no defence against
/// anybody, only a short name for a long table.
pub(crate) struct Fnv(pub(crate) u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// Calls `test` with each loaded object until it gives something.
fn find<T, F: FnMut(&Object<'_>) -> Option<T>>(test: F) -> Option<T> {
    struct Search<T, F> {
        test: F,
        found: Option<T>,
    }

    unsafe extern "C" fn visit<T, F: FnMut(&Object<'_>) -> Option<T>>(
        info: *mut libc::dl_phdr_info,
        _size: usize,
        search: *mut c_void,
    ) -> i32 {
        // SAFETY: dl_iterate_phdr passes an info that is valid during the call, and the
        // pointer that `find` gave it.
        let (info, search) = unsafe { (&*info, &mut *search.cast::<Search<T, F>>()) };
        if info.dlpi_phdr.is_null() {
            return 0;
        }
        let object = Object {
            base: native(info.dlpi_addr),
            // SAFETY: the object's program headers stay mapped while it is loaded.
            headers: unsafe { slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) },
        };
        search.found = (search.test)(&object);
        i32::from(search.found.is_some())
    }

    let mut search = Search { test, found: None };
    // SAFETY: `visit` matches the pointer that it is given, which outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(visit::<T, F>), (&raw mut search).cast()) };
    search.found
}

#[cfg(test)]
mod tests {
    use super::*;

    static HERE: [usize; 2] = [1, 2];

    #[test]
    fn addresses_come_back_only_to_their_object() {
        let address = HERE.as_ptr() as usize;
        let (id, offset) = locate(address).unwrap();
        assert!(!id.is_empty());
        assert_eq!(resolve(&id, offset, 16), Some(address));
        assert_eq!(resolve(&id, offset + 1, 16), None, "unaligned");
        assert_eq!(resolve(b"another", offset, 16), None);
        assert_eq!(resolve(&id, u64::MAX - 7, 16), None);
        let mut local = 0u8;
        assert!(locate((&raw mut local) as usize).is_none(), "the stack is no object");
    }
}
