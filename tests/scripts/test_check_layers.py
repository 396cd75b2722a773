#!/usr/bin/env python3
"""scripts/check-layers finds each kind of wrong arrow, and only those. Each tree is made for its case."""
import os
import subprocess
import sys
import tempfile
import unittest

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'scripts', 'check-layers')

# Two modules in each folder; every arrow in it runs down.
CLEAN = {
    'core/meson.build': "# 'ghost'\ncore_modules = [\n  'low', # the ground\n  'high',\n]\n",
    'core/low.h': '#include <stdint.h>\n',
    'core/low.c': '#include "core/low.h"\n#include "config.h"\n',
    'core/high.h': '// #include <fuse.h>\n/* #include\n#include "fs/view.h" */\n',
    'core/high.c': '#include "core/high.h"\n#include "core/low.h"\nconst char *text = "/*";\n',
    'fs/meson.build': "fs_modules = ['view', 'serve']\n",
    'fs/view.h': '#include "core/high.h"\n#include <fuse_lowlevel.h>\n',
    'fs/serve.c': '#include "fs/view.h"\n#include "core/low.h"\n',
    'mount-helper/meson.build': "helper_modules = ['main']\n",
    'mount-helper/main.c': '#include "fs/view.h"\n#include "core/high.h"\n',
}


class CheckLayers(unittest.TestCase):
    def run_on(self, changes):
        with tempfile.TemporaryDirectory() as root:
            for path, content in {**CLEAN, **changes}.items():
                os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
                with open(os.path.join(root, path), 'w', encoding='utf-8') as stream:
                    stream.write(content)
            return subprocess.run([sys.executable, SCRIPT, root], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  text=True, check=False)

    def assert_violation(self, changes, expected):
        result = self.run_on(changes)
        self.assertEqual(result.returncode, 1, result.stdout)
        self.assertEqual(len(result.stdout.splitlines()), 1, result.stdout)
        self.assertIn(expected, result.stdout)

    def test_a_clean_tree_passes(self):
        result = self.run_on({})
        self.assertEqual((result.returncode, len(result.stdout.splitlines())), (0, 1), result.stdout)

    def test_fuse_headers_in_core_are_found(self):
        for header in ('<fuse.h>', '<fuse3/fuse_lowlevel.h>', '"fuse_opt.h"', '<linux/fuse.h>', '<fuse_lowlevel.h>'):
            with self.subTest(header=header):
                self.assert_violation({'core/low.h': f'\n #  include {header}\n'}, 'core/low.h:2: core includes the FUSE')

    def test_core_that_links_fuse_is_found(self):
        build = CLEAN['core/meson.build'] + 'dependencies: [fuse3]\n'
        self.assert_violation({'core/meson.build': build}, 'core depends on FUSE')

    def test_arrows_between_folders_that_run_up_are_found(self):
        self.assert_violation({'core/low.c': '#include "fs/view.h"\n'}, 'core includes fs/view.h')
        self.assert_violation({'core/low.c': '#include "../fs/view.h"\n'}, 'core includes fs/view.h')
        self.assert_violation({'core/low.c': '#include <fs/view.h>\n'}, 'core includes fs/view.h')
        self.assert_violation({'fs/view.h': '#include "mount-helper/main.c"\n'}, 'fs includes mount-helper/main.c')

    def test_a_module_that_uses_one_below_it_in_the_list_is_found(self):
        self.assert_violation({'core/low.c': '#include "core/high.h"\n'}, 'core/low.c:1: low includes core/high.h')
        self.assert_violation({'core/low.c': '#include "high.h"\n'}, 'core/low.c:1: low includes core/high.h')

    def test_a_file_outside_the_list_is_found(self):
        self.assert_violation({'core/stray.c': ''}, 'core/stray.c: its module is not in the list')
        self.assert_violation({'fs/deep/stray.h': ''}, 'fs/deep/stray.h: its module is not in the list')

    def test_a_listed_module_without_files_is_found(self):
        self.assert_violation({'fs/meson.build': "fs_modules = ['view', 'serve', 'ghost']\n"}, "'ghost' is listed and has")

    def test_a_module_listed_twice_is_found(self):
        self.assert_violation({'fs/meson.build': "fs_modules = ['view', 'serve', 'view']\n"}, "'view' is listed twice")

    def test_an_include_that_cannot_be_followed_is_found(self):
        self.assert_violation({'core/low.c': '#include HEADER\n'}, 'include of HEADER cannot be followed')
        self.assert_violation({'core/low.c': '#include "core/gone.h"\n'}, '"core/gone.h" is no header of this project')

    def test_a_tree_without_sources_fails(self):
        with tempfile.TemporaryDirectory() as root:
            result = subprocess.run([sys.executable, SCRIPT, root], stdout=subprocess.PIPE, text=True, check=False)
            self.assertEqual(result.returncode, 1)
            self.assertIn('no source file found', result.stdout)


if __name__ == '__main__':
    unittest.main()
